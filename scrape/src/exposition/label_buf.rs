//! Decoded labels of one entry, in a buffer that is used again and again.

use model::Labels;

/// Names and values of one series as exposed: empty values and names that
/// stand twice are still there. Text and offsets live in two vectors that keep
/// their room when cleared.
#[derive(Clone, Debug, Default)]
pub struct LabelBuf {
    text: String,
    spans: Vec<Span>,
    has_invalid_name: bool,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    name: (usize, usize),
    value: (usize, usize),
}

impl LabelBuf {
    /// A buffer without labels.
    pub fn new() -> LabelBuf {
        LabelBuf::default()
    }

    /// Drops all labels, keeps the room.
    pub fn clear(&mut self) {
        self.text.clear();
        self.spans.clear();
        self.has_invalid_name = false;
    }

    /// Adds a label.
    pub fn push(&mut self, name: &str, value: &str) {
        let name = self.keep(name);
        let value = self.keep(value);
        self.spans.push(Span { name, value });
    }

    /// Adds a label whose name or value may be no text; then
    /// [`LabelBuf::has_invalid_name`] says so and replacement characters stand
    /// for what cannot be read.
    pub fn push_bytes(&mut self, name: &[u8], value: &[u8]) {
        match (std::str::from_utf8(name), std::str::from_utf8(value)) {
            (Ok(name), Ok(value)) => self.push(name, value),
            _ => {
                self.has_invalid_name = true;
                self.push(&String::from_utf8_lossy(name), &String::from_utf8_lossy(value));
            }
        }
    }

    /// Whether a name was no text.
    pub fn has_invalid_name(&self) -> bool {
        self.has_invalid_name
    }

    /// Sorts by name; labels of one name stay in their order.
    pub fn sort(&mut self) {
        let text = &self.text;
        self.spans.sort_by(|a, b| slice(text, a.name).cmp(slice(text, b.name)));
    }

    /// Names and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.spans.iter().map(|span| (slice(&self.text, span.name), slice(&self.text, span.value)))
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The value of the first label of that name, `None` where there is none.
    pub fn get(&self, wanted: &str) -> Option<&str> {
        self.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value)
    }

    /// The first name that stands twice in a sorted buffer.
    pub fn duplicate_name(&self) -> Option<&str> {
        self.spans
            .windows(2)
            .find(|pair| slice(&self.text, pair[0].name) == slice(&self.text, pair[1].name))
            .map(|pair| slice(&self.text, pair[0].name))
    }

    /// The label set: without empty values, the last of equal names.
    pub fn to_labels(&self) -> Labels {
        Labels::from_pairs(self.iter())
    }

    fn keep(&mut self, text: &str) -> (usize, usize) {
        let start = self.text.len();
        self.text.push_str(text);
        (start, self.text.len())
    }
}

fn slice(text: &str, (start, end): (usize, usize)) -> &str {
    &text[start..end]
}
