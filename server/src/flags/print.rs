//! What the command line can ask to be printed.

use super::table::{FLAGS, Flag, Kind, Mode};

const ABOUT: &str = "Scrapes, stores and queries metrics: a Prometheus-compatible monitoring server.";

/// The help's columns: flags begin here …
const INDENT: usize = 6;
/// … their texts here …
const TEXT_COLUMN: usize = 33;
/// … and lines end here where words allow it.
const WIDTH: usize = 80;

/// The text of `--version`.
pub fn version_text(_program: &str) -> String {
    let build = crate::build::INFO;
    format!(
        "prometheus, version {} (branch: {}, revision: {})\n  build user:       {}\n  build date:       {}\n  \
         go version:       {}\n  platform:         {}\n  tags:             {}\n",
        build.version,
        build.branch,
        build.revision,
        build.user,
        build.date,
        build.compiler,
        build.platform,
        build.tags
    )
}

/// The text of `--help`.
pub fn help(program: &str) -> String {
    help_of(program, |flag| !flag.hidden)
}

/// The text of `--help-long`, hidden flags included.
pub fn help_long(program: &str) -> String {
    help_of(program, |_| true)
}

fn help_of(program: &str, shown: impl Fn(&Flag) -> bool) -> String {
    let mut out = format!("usage: {program} [<flags>]\n\n{ABOUT}\n\n\nFlags:\n");
    push_entry(&mut out, "  -h, --[no-]help", "Show this help; --help-long shows hidden flags as well.");
    push_entry(&mut out, "      --[no-]version", "Show what this program is.");
    for flag in FLAGS.iter().filter(|flag| shown(flag)) {
        let name = flag.name;
        let head = match (flag.kind, flag.default) {
            (Kind::Bool, _) => format!("--[no-]{name}"),
            (_, "") => format!("--{name}={}", name.rsplit('.').next().unwrap_or(name).to_uppercase()),
            (Kind::Text, default) => format!("--{name}=\"{default}\""),
            (_, default) => format!("--{name}={default}"),
        };
        let more = if is_repeatable(flag) { " ..." } else { "" };
        push_entry(&mut out, &format!("{:INDENT$}{head}{more}", ""), &text_of(flag));
    }
    out
}

fn is_repeatable(flag: &Flag) -> bool {
    matches!(flag.kind, Kind::Texts | Kind::List | Kind::Messages)
}

fn text_of(flag: &Flag) -> String {
    let mode = match flag.mode {
        Mode::Server => " Use with server mode only.",
        Mode::Agent => " Use with agent mode only.",
        Mode::Both => "",
    };
    let names = match flag.name {
        "enable-feature" => format!(" Known: {}.", crate::features::names()),
        _ => String::new(),
    };
    format!("{}{names}{mode}", flag.help)
}

/// One flag: its head, and its text in the second column.
fn push_entry(out: &mut String, head: &str, text: &str) {
    out.push_str(head);
    let mut column = head.chars().count();
    if column + 2 > TEXT_COLUMN {
        out.push('\n');
        column = 0;
    }
    out.extend(std::iter::repeat_n(' ', TEXT_COLUMN - column));
    column = TEXT_COLUMN;
    for (i, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if i > 0 && column + 1 + length > WIDTH {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', TEXT_COLUMN));
            column = TEXT_COLUMN;
        } else if i > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
}

/// The text of `--help-man`: a manual page.
pub fn man(program: &str) -> String {
    let mut out = format!(
        ".TH {program} 1 \"{}\"\n.SH \"NAME\"\n{program}\n.SH \"SYNOPSIS\"\n.TP\n\\fB{program} [<flags>]\\fR\n.SH \"DESCRIPTION\"\n{ABOUT}\n.SH \"OPTIONS\"\n",
        crate::build::INFO.version
    );
    for flag in FLAGS.iter().filter(|flag| !flag.hidden) {
        let value = match (flag.kind, flag.default) {
            (Kind::Bool, _) | (_, "") => String::new(),
            (_, default) => format!("={default}"),
        };
        out.push_str(&format!(".TP\n\\fB--{}{value}\\fR\n{}\n", flag.name, text_of(flag)));
    }
    out
}

/// The text of `--write-documentation`: all flags as a Markdown table.
pub fn documentation(program: &str) -> String {
    let mut out = format!(
        "---\ntitle: {program}\n---\n\n{ABOUT}\n\n\n## Flags\n\n| Flag | Description | Default |\n| --- | --- | --- |\n"
    );
    let name = |name: &str| format!("<code class=\"text-nowrap\">{name}</code>");
    out.push_str(&format!(
        "| {}, {} | Show this help; --help-long shows hidden flags as well. |  |\n| {} | Show what this program is. |  |\n",
        name("-h"),
        name("--help"),
        name("--version")
    ));
    for flag in FLAGS.iter().filter(|flag| !flag.hidden) {
        let default = if flag.default.is_empty() { String::new() } else { format!("`{}`", flag.default) };
        let more = if is_repeatable(flag) { " <code class=\"text-nowrap\">...</code>" } else { "" };
        let text = text_of(flag).replace('|', "\\|");
        out.push_str(&format!("| {}{more} | {text} | {default} |\n", name(&format!("--{}", flag.name))));
    }
    out
}
