//! Command-line tools that keep a developer's sign-on: `az`, `azd`, PowerShell.
//! Source: Azure SDK for Go, `azidentity`, its credentials of these names.

use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Value;

use super::SCOPE_END;
use super::chain::Refusal;
use crate::client::Variables;
use crate::cloud::process::{self, ProgramError};
use crate::cloud::token::IssuedToken;
use crate::cloud::{CloudError, DETAIL_BYTES_MAX};

/// How long a tool may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Where tools run.
const FOLDER: &str = "/bin";
/// What a shell ends with when it finds no such program.
const NOT_FOUND: i32 = 127;
const NO_MODULE: &str = "Az.Accounts module not found";
const NO_ACCOUNT: &str = "no account is set up: run Connect-AzAccount";

/// One of the tools.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Tool {
    Cli,
    Developer,
    PowerShell,
}

/// What tools write, each in its own way.
#[derive(Deserialize)]
struct Written {
    #[serde(default, alias = "accessToken", alias = "Token")]
    token: Option<String>,
    /// In seconds since 1970.
    #[serde(default)]
    expires_on: Option<i64>,
    /// The same, or a time with its zone, or in the machine's zone.
    #[serde(default, rename = "expiresOn", alias = "ExpiresOn")]
    ends: Value,
}

impl Tool {
    /// Its name as a source of tokens.
    pub(super) fn name(self) -> &'static str {
        match self {
            Tool::Cli => "AzureCLICredential",
            Tool::Developer => "AzureDeveloperCLICredential",
            Tool::PowerShell => "AzurePowerShellCredential",
        }
    }

    /// Asks the tool for a token; with the account's own directory where `tenant` is empty.
    pub(super) async fn issue(
        self,
        scope: &str,
        tenant: &str,
        variables: &Variables,
    ) -> Result<IssuedToken, Refusal> {
        // PowerShell is given these in a script, and no tool knows any other kind.
        let is_of_scope = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
        let is_of_tenant = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
        if !scope.chars().all(is_of_scope) {
            let what = format!("invalid scope {}", model::labels::go_quote(scope));
            return Err(Refusal::Failed(CloudError::Unusable(what)));
        }
        if !tenant.chars().all(is_of_tenant) {
            return Err(Refusal::Unavailable(format!(
                "invalid tenantID {}",
                model::labels::go_quote(tenant)
            )));
        }
        let mut command = self.command(scope, tenant);
        command.current_dir(FOLDER).envs(variables.iter()).stderr(Stdio::piped());
        let output = process::output_of(&mut command, TIMEOUT).await;
        let output = output.map_err(|error| Refusal::Unavailable(self.fault(error)))?;
        read(&output, variables).map_err(Refusal::Unavailable)
    }

    fn command(self, scope: &str, tenant: &str) -> Command {
        // Tools of any age understand what a scope stands for.
        let resource = scope.strip_suffix(SCOPE_END).unwrap_or(scope);
        let (mut command, tenant_flag) = match self {
            Tool::Cli => {
                let mut command = Command::new("az");
                command.args(["account", "get-access-token", "-o", "json", "--resource", resource]);
                (command, "--tenant")
            }
            Tool::Developer => {
                let mut command = Command::new("azd");
                command.args(["auth", "token", "-o", "json", "--no-prompt", "--scope", scope]);
                (command, "--tenant-id")
            }
            Tool::PowerShell => {
                let mut command = Command::new("pwsh");
                command.args(["-NoProfile", "-NonInteractive", "-OutputFormat", "Text", "-EncodedCommand"]);
                command.arg(encoded(&power_script(resource, tenant)));
                return command;
            }
        };
        if !tenant.is_empty() {
            command.args([tenant_flag, tenant]);
        }
        command
    }

    /// Why a tool gave nothing: as it says itself where it does.
    fn fault(self, error: ProgramError) -> String {
        let told = match error {
            ProgramError::Failed { status, .. } if status.code() == Some(NOT_FOUND) => {
                return ProgramError::Missing.to_string();
            }
            ProgramError::Failed { ref told, .. } => told.as_str(),
            _ => "",
        };
        let told = match self {
            Tool::Developer => developer_fault(told),
            Tool::PowerShell if told.contains(NO_MODULE) => NO_MODULE.to_owned(),
            Tool::PowerShell if told.contains("Connect-AzAccount") => NO_ACCOUNT.to_owned(),
            Tool::PowerShell | Tool::Cli => told.to_owned(),
        };
        match told.char_indices().nth(DETAIL_BYTES_MAX) {
            _ if told.is_empty() => error.to_string(),
            Some((end, _)) => format!("{}…", &told[..end]),
            None => told,
        }
    }
}

/// What `azd` complains of: a line in JSON says it, among others or alone.
fn developer_fault(told: &str) -> String {
    let lines = told.lines().filter_map(|line| serde_json::from_str::<Value>(line.trim()).ok());
    let text =
        |value: &Value| value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let mut message = None;
    for line in lines {
        if let Some(error) = text(&line["error"]) {
            return error;
        }
        message = message.or_else(|| text(&line["data"]["message"]));
    }
    message.unwrap_or_else(|| told.to_owned())
}

/// The token in what a tool wrote. Nothing of it is quoted but the time.
fn read(output: &[u8], variables: &Variables) -> Result<IssuedToken, String> {
    let written: Written = serde_json::from_slice(output).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("the output is not the JSON expected (line {line}, column {column})")
    })?;
    let Some(access_token) = written.token.filter(|token| !token.is_empty()) else {
        return Err("the output holds no token".to_owned());
    };
    let ends_s = match (written.expires_on, &written.ends) {
        (Some(seconds), _) if seconds != 0 => Some(seconds),
        (_, Value::Number(seconds)) => seconds.as_i64(),
        (_, Value::String(time)) => time_s(time, variables),
        _ => None,
    };
    match ends_s {
        Some(expires_on) => Ok(IssuedToken { access_token, expires_in: 0, expires_on }),
        None => Err(format!("the token's end is no time: {}", written.ends)),
    }
}

/// A time in seconds since 1970: with its zone, or in the machine's.
fn time_s(text: &str, variables: &Variables) -> Option<i64> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_second());
    }
    let zone = match variables.get("TZ").trim_start_matches(':') {
        "" => TimeZone::system(),
        name => TimeZone::get(name).unwrap_or(TimeZone::UTC),
    };
    let time = text.parse::<DateTime>().ok()?.to_zoned(zone).ok()?;
    Some(time.timestamp().as_second())
}

/// What PowerShell is to do. Modules from 2.17 on can keep the token from plain
/// text, from 5 on they always do; older ones cannot.
fn power_script(resource: &str, tenant: &str) -> String {
    let tenant = match tenant {
        "" => String::new(),
        tenant => format!("$asked.TenantId = '{tenant}'\n"),
    };
    format!(
        "$ErrorActionPreference = 'Stop'
$module = Import-Module Az.Accounts -MinimumVersion 2.2.0 -PassThru -ErrorAction SilentlyContinue
if (-not $module) {{ throw '{NO_MODULE}' }}
$asked = @{{ ResourceUrl = '{resource}'; WarningAction = 'Ignore' }}
{tenant}if ($module.Version -ge [version]'2.17.0' -and $module.Version -lt [version]'5.0.0') {{ $asked.AsSecureString = $true }}
$given = Get-AzAccessToken @asked
$token = $given.Token
if ($token -is [securestring]) {{ $token = [pscredential]::new('token', $token).GetNetworkCredential().Password }}
@{{ Token = $token; ExpiresOn = $given.ExpiresOn.ToUnixTimeSeconds() }} | ConvertTo-Json -Compress
"
    )
}

/// A script as PowerShell takes it on its command line: no shell reads it.
fn encoded(script: &str) -> String {
    let bytes: Vec<u8> = script.encode_utf16().flat_map(u16::to_le_bytes).collect();
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read_in(zone: &str, text: &str) -> Result<i64, String> {
        let variables = BTreeMap::from([("TZ".to_owned(), zone.to_owned())]);
        read(text.as_bytes(), &variables.into()).map(|issued| issued.expires_on)
    }

    #[test]
    fn tokens_end_when_the_tool_says() {
        for (text, ends) in [
            // Both times of `az` are the same; the older one names no zone.
            (
                r#"{"accessToken": "t", "expires_on": 1700003600, "expiresOn": "2023-11-15 00:13:20.000000"}"#,
                1_700_003_600,
            ),
            (r#"{"accessToken": "t", "expiresOn": "2023-11-14 23:13:20.000000"}"#, 1_700_003_600),
            (r#"{"token": "t", "expiresOn": "2023-11-14T23:13:20Z"}"#, 1_700_003_600),
            (r#"{"Token": "t", "ExpiresOn": 1700003600}"#, 1_700_003_600),
        ] {
            assert_eq!(read_in("UTC", text), Ok(ends), "{text}");
        }
        for (text, why) in [
            (r#"{"accessToken": "s3cret", "expires_on": "s3cret"}"#, "not the JSON expected (line 1"),
            (r#"{"accessToken": "s3cret", "expiresOn": "soon"}"#, "the token's end is no time: \"soon\""),
            (r#"{"accessToken": "", "expires_on": 1700003600}"#, "holds no token"),
            ("s3cret", "not the JSON expected"),
        ] {
            let fault = read_in("UTC", text).unwrap_err();
            assert!(fault.contains(why) && !fault.contains("s3cret"), "{text}: {fault}");
        }
    }

    #[test]
    fn tools_say_why() {
        let failed = |tool: Tool, told: &str| {
            let status = Command::new("false").status().unwrap();
            tool.fault(ProgramError::Failed { status, told: told.to_owned() })
        };
        assert_eq!(failed(Tool::Cli, "ERROR: Please run 'az login'"), "ERROR: Please run 'az login'");
        assert_eq!(failed(Tool::Cli, ""), "exit status: 1");
        assert_eq!(failed(Tool::Cli, &"é".repeat(600)), format!("{}…", "é".repeat(512)));
        let lines = "plain\n{\"data\": {\"message\": \" first \"}}\n{\"error\": \"no sign-on\"}";
        assert_eq!(failed(Tool::Developer, lines), "no sign-on");
        assert_eq!(failed(Tool::Developer, "x\n{\"data\": {\"message\": \" first \"}}"), "first");
        assert_eq!(failed(Tool::Developer, "plain"), "plain");
        assert_eq!(failed(Tool::PowerShell, "…: Run Connect-AzAccount to login."), NO_ACCOUNT);
        assert_eq!(failed(Tool::PowerShell, "Exception: Az.Accounts module not found"), NO_MODULE);
    }

    #[test]
    fn powershell_gets_a_script_that_no_shell_reads() {
        let command = Tool::PowerShell.command("https://x/.default", "ten");
        let last = command.get_args().last().unwrap().to_str().unwrap();
        let units: Vec<u16> = STANDARD
            .decode(last)
            .unwrap()
            .chunks(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        let script = String::from_utf16(&units).unwrap();
        assert!(script.contains("ResourceUrl = 'https://x'"), "{script}");
        assert!(script.contains("TenantId = 'ten'"), "{script}");
        assert!(!power_script("https://x", "").contains("TenantId"));
    }
}
