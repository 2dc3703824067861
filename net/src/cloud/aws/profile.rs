//! The shared files of AWS' tools: `~/.aws/config` and `~/.aws/credentials`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::client::Variables;

/// The settings of a profile, from both files.
pub(super) type Profile = BTreeMap<String, String>;

/// The settings of a profile; of the environment's or the default one where
/// `name` is empty. `None`: neither file has it.
pub(super) fn profile(name: &str, variables: &Variables) -> Option<Profile> {
    let name = name_of(name, variables);
    let home = PathBuf::from(variables.get("HOME")).join(".aws");
    let mut settings: Option<Profile> = None;
    for (variable, file, section) in [
        ("AWS_CONFIG_FILE", "config", format!("profile {name}")),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", name.to_owned()),
    ] {
        let path = match variables.get(variable) {
            "" => home.join(file),
            path => PathBuf::from(path),
        };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if let Some(found) = section_of(&text, &[&section, name]) {
            settings.get_or_insert_default().extend(found);
        }
    }
    settings
}

/// The settings of a sign-on session; only the file of settings has them.
pub(super) fn sso_session(name: &str, variables: &Variables) -> Option<Profile> {
    let path = match variables.get("AWS_CONFIG_FILE") {
        "" => PathBuf::from(variables.get("HOME")).join(".aws/config"),
        path => PathBuf::from(path),
    };
    let text = std::fs::read_to_string(path).unwrap_or_default();
    section_of(&text, &[&format!("sso-session {name}")])
}

/// The name of a profile; the environment's or the default one where it is empty.
pub(super) fn name_of<'a>(name: &'a str, variables: &'a Variables) -> &'a str {
    match (name, variables.get("AWS_PROFILE")) {
        ("", "") => "default",
        ("", name) => name,
        (name, _) => name,
    }
}

/// The settings of a section, whichever of the names it has.
fn section_of(text: &str, names: &[&str]) -> Option<Profile> {
    let mut settings = None;
    let mut inside = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(name) = trimmed.strip_prefix('[').and_then(|line| line.split(']').next()) {
            let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
            inside = names.contains(&name.as_str());
            if inside {
                settings.get_or_insert_with(Profile::new);
            }
        } else if inside
            // Indented lines belong to a nested setting.
            && !line.starts_with([' ', '\t'])
            && !trimmed.starts_with(['#', ';'])
            && let Some((name, value)) = trimmed.split_once('=')
        {
            // A comment may follow a value.
            let value = value.split(" #").next().unwrap_or_default().split(" ;").next().unwrap_or_default();
            settings
                .get_or_insert_default()
                .insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_of_shared_files_are_found() {
        let text = "[default]\nregion = a # why\n# x = y\n[ profile  p ]\nregion=b\ns3 =\n  region = z\n\
                    aws_access_key_id = k\n[empty]\n";
        assert_eq!(section_of(text, &["default"]).unwrap()["region"], "a");
        let found = section_of(text, &["profile p", "p"]).unwrap();
        assert_eq!((found["region"].as_str(), found["aws_access_key_id"].as_str()), ("b", "k"));
        assert_eq!(section_of(text, &["empty"]), Some(Profile::new()));
        assert_eq!(section_of(text, &["none"]), None);
    }
}
