//! XML answers as a small tree: what Eureka and AWS send.

use std::ops::Range;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

/// Elements inside each other, at most.
const DEPTH_MAX: usize = 64;

/// The document is no XML, or too deep.
#[derive(Debug, thiserror::Error)]
#[error("XML: {0}")]
pub struct XmlError(String);

/// An element.
#[derive(Debug, Default)]
pub struct Element {
    /// Its name without name space.
    pub name: String,
    /// The text right inside it.
    pub text: String,
    /// Where in the document its content stands.
    content: Range<usize>,
    attributes: Vec<(String, String)>,
    /// The elements right inside it, in order.
    pub children: Vec<Element>,
}

impl Element {
    /// The document's element.
    ///
    /// # Errors
    /// The bytes are no XML document.
    pub fn parse(bytes: &[u8]) -> Result<Element, XmlError> {
        let malformed = |what: String| XmlError(what);
        let text = std::str::from_utf8(bytes).map_err(|error| malformed(error.to_string()))?;
        let mut reader = Reader::from_str(text);
        // The elements that are open, the document itself below them.
        let mut open = vec![Element::default()];
        let position = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        loop {
            let before = position(reader.buffer_position());
            let event = reader.read_event().map_err(|error| malformed(error.to_string()))?;
            let after = position(reader.buffer_position());
            let top = open.last_mut().expect("the document is open until its end");
            match event {
                Event::Start(start) => {
                    if open.len() >= DEPTH_MAX {
                        return Err(malformed(format!("more than {DEPTH_MAX} elements inside each other")));
                    }
                    open.push(Element { content: after..after, ..Element::from_start(&start) });
                }
                Event::Empty(start) => top.children.push(Element::from_start(&start)),
                Event::End(_) => {
                    let mut closed = open.pop().expect("the reader checks that ends have starts");
                    closed.content.end = before;
                    let parent = open.last_mut().expect("the reader checks that ends have starts");
                    parent.children.push(closed);
                }
                Event::Text(text) => {
                    let text = text.decode().map_err(|error| malformed(error.to_string()))?;
                    top.text.push_str(&text);
                }
                Event::CData(text) => {
                    let text = text.decode().map_err(|error| malformed(error.to_string()))?;
                    top.text.push_str(&text);
                }
                Event::GeneralRef(reference) => {
                    let char = reference.resolve_char_ref().map_err(|error| malformed(error.to_string()))?;
                    let name = reference.decode().map_err(|error| malformed(error.to_string()))?;
                    match (char, resolve_predefined_entity(&name)) {
                        (Some(char), _) => top.text.push(char),
                        (None, Some(text)) => top.text.push_str(text),
                        (None, None) => return Err(malformed(format!("unknown entity {name}"))),
                    }
                }
                Event::Eof => break,
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
        let document = open.pop().filter(|_| open.is_empty());
        let root = document.and_then(|document| document.children.into_iter().next());
        root.ok_or_else(|| malformed("unexpected EOF".to_owned()))
    }

    fn from_start(start: &BytesStart<'_>) -> Element {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let attributes = start.attributes().flatten();
        Element {
            name: text(start.local_name().as_ref()),
            attributes: attributes.map(|a| (text(a.key.local_name().as_ref()), text(&a.value))).collect(),
            ..Element::default()
        }
    }

    /// What stands inside it, as it is written in the document that it was
    /// parsed from.
    pub fn written<'a>(&self, document: &'a [u8]) -> &'a str {
        let content = document.get(self.content.clone()).unwrap_or_default();
        std::str::from_utf8(content).unwrap_or_default()
    }

    /// The first element inside of that name.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The elements inside of that name.
    pub fn children(&self, name: &str) -> impl Iterator<Item = &Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of an element inside, empty where there is none.
    pub fn text_of(&self, name: &str) -> &str {
        self.child(name).map_or("", |child| &child.text)
    }

    /// The element that a path of names leads to.
    pub fn at(&self, path: &[&str]) -> Option<&Element> {
        path.iter().try_fold(self, |element, name| element.child(name))
    }

    /// The text at a path, empty where there is none.
    pub fn text_at(&self, path: &[&str]) -> &str {
        self.at(path).map_or("", |element| &element.text)
    }

    /// The `item` elements inside the element of that name: how AWS writes lists.
    pub fn items(&self, name: &str) -> impl Iterator<Item = &Element> {
        self.child(name).into_iter().flat_map(|list| list.children("item"))
    }

    /// An attribute's value, empty where there is none.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.iter().find(|(have, _)| have == name).map_or("", |(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_become_trees() {
        let document =
            b"<a x='1'><!-- c --><n:b>t&lt;&#65;</n:b><c/><b>2</b><d> <e>1</e><![CDATA[<]]></d></a>";
        let root = Element::parse(document).unwrap();
        assert_eq!((root.name.as_str(), root.attribute("x")), ("a", "1"));
        assert_eq!(root.text_of("b"), "t<A");
        assert_eq!(root.child("b").unwrap().written(document), "t&lt;&#65;");
        assert_eq!(root.child("c").unwrap().written(document), "");
        assert_eq!(root.child("d").unwrap().written(document), " <e>1</e><![CDATA[<]]>");
        assert_eq!(root.children("b").count(), 2);
        assert!(root.child("c").is_some());
    }

    #[test]
    fn broken_and_deep_documents_are_refused() {
        for text in ["", "<a>", "<a></b>", "<a>&nope;</a>", &"<a>".repeat(100)] {
            assert!(Element::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
