//! Pages: what a template writes is made safe for the place it goes to.
//!
//! ```text
//! <a href="/x?q={{.Q}}" onclick="f({{.V}})">{{.Text}}</a>
//!               ╰ url query        ╰ JavaScript ╰ HTML text
//! ```
//!
//! Before a page's template runs, its text is read as HTML to find out in what
//! context each action stands (`context`, `transition`); the functions that make
//! a value safe there are then added to the action's pipeline (`escape`), and
//! run with it (`escaper` and the files below). Source: Go `html/template`.

mod attribute;
mod context;
mod css;
mod entity;
mod escape;
mod escaper;
mod javascript;
mod json;
mod replace;
mod transition;
mod url;

pub(crate) use escape::Page;
pub(crate) use escaper::Escaper;
