//! What went wrong with parts of a request, told to its sender within bounds.

/// Most faults that are told one by one.
const FAULTS_MAX: usize = 1000;
/// Most bytes of all of them.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// Faults of a request in order of their series.
#[derive(Default)]
pub struct Faults {
    told: Vec<(u32, String)>,
    text_bytes: usize,
    untold: u64,
}

impl Faults {
    /// Notes a fault of a series; the text is made only if it will be told.
    pub fn add(&mut self, owner: u32, text: impl FnOnce() -> String) {
        if self.is_full() {
            self.untold += 1;
            return;
        }
        let text = text();
        self.text_bytes += text.len();
        self.told.push((owner, text));
    }

    /// Whether further faults are counted only.
    pub fn is_full(&self) -> bool {
        self.told.len() >= FAULTS_MAX || self.text_bytes >= TEXT_BYTES_MAX
    }

    /// One line a fault; `None` where there is none.
    pub fn into_text(mut self) -> Option<String> {
        if self.told.is_empty() {
            return None;
        }
        self.told.sort_by_key(|(owner, _)| *owner);
        let mut lines: Vec<String> = self.told.into_iter().map(|(_, text)| text).collect();
        if self.untold > 0 {
            lines.push(format!("and {} more", self.untold));
        }
        Some(lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_by_series_and_bounded() {
        let mut faults = Faults::default();
        faults.add(2, || "b".to_owned());
        faults.add(1, || "a".to_owned());
        assert_eq!(faults.into_text().as_deref(), Some("a\nb"));
        let mut faults = Faults::default();
        (0..5000).for_each(|i| faults.add(i, || "x".to_owned()));
        let text = faults.into_text().unwrap();
        assert!(text.ends_with("\nand 4000 more"), "{}", text.len());
        assert_eq!(Faults::default().into_text(), None);
    }
}
