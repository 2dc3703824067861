//! Where in a page a piece of a template stands.

use std::fmt;

use super::javascript::Slash;

/// What is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum State {
    Text,
    Tag,
    AttrName,
    AfterName,
    BeforeValue,
    HtmlComment,
    /// The inside of `textarea` and `title`.
    RcData,
    Attr,
    Url,
    Srcset,
    Js,
    JsDouble,
    JsSingle,
    JsTemplate,
    JsRegexp,
    JsBlockComment,
    JsLineComment,
    JsHtmlOpenComment,
    JsHtmlCloseComment,
    Css,
    CssDouble,
    CssSingle,
    CssDoubleUrl,
    CssSingleUrl,
    CssUrl,
    CssBlockComment,
    CssLineComment,
    Error,
    MetaContent,
    MetaContentUrl,
    /// Behind a `break` or `continue`.
    Dead,
}

/// What ends an attribute's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Delim {
    None,
    Double,
    Single,
    SpaceOrTagEnd,
}

/// Which part of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum UrlPart {
    None,
    PreQuery,
    QueryOrFragment,
    /// Two ways lead here, and they differ.
    Unknown,
}

/// Which attribute, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Attr {
    None,
    Script,
    ScriptType,
    Style,
    Url,
    Srcset,
    MetaContent,
}

/// Which element, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Element {
    None,
    Script,
    Style,
    Textarea,
    Title,
    Meta,
}

/// A template that cannot be escaped, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Name, line and column of a node.
    pub(super) location: Option<String>,
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) what: String,
}

/// The place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) state: State,
    pub(super) delim: Delim,
    pub(super) url_part: UrlPart,
    pub(super) slash: Slash,
    /// For each open `${` of JavaScript the braces open in it.
    pub(super) braces: Vec<usize>,
    pub(super) attr: Attr,
    pub(super) element: Element,
    pub(super) fault: Option<Box<Fault>>,
}

impl Context {
    /// The start of a page.
    pub(super) fn start() -> Context {
        Context::of(State::Text, Element::None)
    }

    pub(super) fn of(state: State, element: Element) -> Context {
        Context {
            state,
            delim: Delim::None,
            url_part: UrlPart::None,
            slash: Slash::Regexp,
            braces: Vec::new(),
            attr: Attr::None,
            element,
            fault: None,
        }
    }

    pub(super) fn error(fault: Fault) -> Context {
        Context { fault: Some(Box::new(fault)), ..Context::of(State::Error, Element::None) }
    }

    /// A fault in the text of a page, which no node says more about.
    pub(super) fn bad(what: String) -> Context {
        Context::error(Fault { location: None, line: 0, name: String::new(), what })
    }

    /// The name of a template as it is when called from here.
    pub(super) fn mangled(&self, name: &[u8]) -> Vec<u8> {
        if self.state == State::Text {
            return name.to_vec();
        }
        let mut suffix = format!("$htmltemplate_{}", self.state);
        if self.delim != Delim::None {
            suffix += &format!("_{}", self.delim);
        }
        if self.url_part != UrlPart::None {
            suffix += &format!("_{}", self.url_part);
        }
        if self.slash != Slash::Regexp {
            suffix += &format!("_{}", self.slash);
        }
        if !self.braces.is_empty() {
            suffix += &format!("_jsBraceDepth({})", numbers(&self.braces));
        }
        if self.attr != Attr::None {
            suffix += &format!("_{}", self.attr);
        }
        if self.element != Element::None {
            suffix += &format!("_{}", self.element);
        }
        [name, suffix.as_bytes()].concat()
    }

    /// The place once something is written that is not known yet.
    pub(super) fn nudged(&self) -> Context {
        let mut next = self.clone();
        match self.state {
            State::Tag => next.state = State::AttrName,
            State::BeforeValue => {
                next.state = self.attr.start();
                next.delim = Delim::SpaceOrTagEnd;
                next.attr = Attr::None;
            }
            State::AfterName => {
                next.state = State::AttrName;
                next.attr = Attr::None;
            }
            _ => {}
        }
        next
    }
}

fn numbers(list: &[usize]) -> String {
    let list: Vec<String> = list.iter().map(ToString::to_string).collect();
    format!("[{}]", list.join(" "))
}

impl Attr {
    /// How its value begins.
    pub(super) fn start(self) -> State {
        match self {
            Attr::None | Attr::ScriptType => State::Attr,
            Attr::Script => State::Js,
            Attr::Style => State::Css,
            Attr::Url => State::Url,
            Attr::Srcset => State::Srcset,
            Attr::MetaContent => State::MetaContent,
        }
    }
}

impl Element {
    /// What stands in it.
    pub(super) fn content(self) -> State {
        match self {
            Element::None | Element::Meta => State::Text,
            Element::Script => State::Js,
            Element::Style => State::Css,
            Element::Textarea | Element::Title => State::RcData,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Element::None | Element::Meta => "",
            Element::Script => "script",
            Element::Style => "style",
            Element::Textarea => "textarea",
            Element::Title => "title",
        }
    }
}

impl State {
    pub(super) fn is_comment(self) -> bool {
        matches!(
            self,
            State::HtmlComment
                | State::JsBlockComment
                | State::JsLineComment
                | State::JsHtmlOpenComment
                | State::JsHtmlCloseComment
                | State::CssBlockComment
                | State::CssLineComment
        )
    }

    pub(super) fn is_in_tag(self) -> bool {
        matches!(self, State::Tag | State::AttrName | State::AfterName | State::BeforeValue | State::Attr)
    }

    /// Whether a script's end tag and comments have no meaning here.
    pub(super) fn is_script_literal(self) -> bool {
        matches!(self, State::JsDouble | State::JsSingle | State::JsTemplate | State::JsRegexp)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Text => "stateText",
            State::Tag => "stateTag",
            State::AttrName => "stateAttrName",
            State::AfterName => "stateAfterName",
            State::BeforeValue => "stateBeforeValue",
            State::HtmlComment => "stateHTMLCmt",
            State::RcData => "stateRCDATA",
            State::Attr => "stateAttr",
            State::Url => "stateURL",
            State::Srcset => "stateSrcset",
            State::Js => "stateJS",
            State::JsDouble => "stateJSDqStr",
            State::JsSingle => "stateJSSqStr",
            State::JsTemplate => "stateJSTmplLit",
            State::JsRegexp => "stateJSRegexp",
            State::JsBlockComment => "stateJSBlockCmt",
            State::JsLineComment => "stateJSLineCmt",
            State::JsHtmlOpenComment => "stateJSHTMLOpenCmt",
            State::JsHtmlCloseComment => "stateJSHTMLCloseCmt",
            State::Css => "stateCSS",
            State::CssDouble => "stateCSSDqStr",
            State::CssSingle => "stateCSSSqStr",
            State::CssDoubleUrl => "stateCSSDqURL",
            State::CssSingleUrl => "stateCSSSqURL",
            State::CssUrl => "stateCSSURL",
            State::CssBlockComment => "stateCSSBlockCmt",
            State::CssLineComment => "stateCSSLineCmt",
            State::Error => "stateError",
            State::MetaContent => "stateMetaContent",
            State::MetaContentUrl => "stateMetaContentURL",
            State::Dead => "stateDead",
        })
    }
}

impl fmt::Display for Delim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Delim::None => "delimNone",
            Delim::Double => "delimDoubleQuote",
            Delim::Single => "delimSingleQuote",
            Delim::SpaceOrTagEnd => "delimSpaceOrTagEnd",
        })
    }
}

impl fmt::Display for UrlPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UrlPart::None => "urlPartNone",
            UrlPart::PreQuery => "urlPartPreQuery",
            UrlPart::QueryOrFragment => "urlPartQueryOrFrag",
            UrlPart::Unknown => "urlPartUnknown",
        })
    }
}

impl fmt::Display for Slash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Slash::Regexp => "jsCtxRegexp",
            Slash::Division => "jsCtxDivOp",
            Slash::Unknown => "jsCtxUnknown",
        })
    }
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Attr::None => "attrNone",
            Attr::Script => "attrScript",
            Attr::ScriptType => "attrScriptType",
            Attr::Style => "attrStyle",
            Attr::Url => "attrURL",
            Attr::Srcset => "attrSrcset",
            Attr::MetaContent => "attrMetaContent",
        })
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Element::None => "elementNone",
            Element::Script => "elementScript",
            Element::Style => "elementStyle",
            Element::Textarea => "elementTextarea",
            Element::Title => "elementTitle",
            Element::Meta => "elementMeta",
        })
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Context { state, delim, url_part, slash, attr, element, .. } = self;
        let braces = numbers(&self.braces);
        let fault = self.fault.as_ref().map_or_else(|| "<nil>".to_owned(), ToString::to_string);
        write!(f, "{{{state} {delim} {url_part} {slash} {braces} {attr} {element} {fault}}}")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.location, self.line, self.name.as_str()) {
            (Some(location), ..) => write!(f, "html/template:{location}: {}", self.what),
            (None, 0, "") => write!(f, "html/template: {}", self.what),
            (None, 0, name) => write!(f, "html/template:{name}: {}", self.what),
            (None, line, name) => write!(f, "html/template:{name}:{line}: {}", self.what),
        }
    }
}
