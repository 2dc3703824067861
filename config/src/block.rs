//! Blocks: mappings with known fields.
//!
//! `block!` declares a struct once and yields its decoding, its printing and
//! its zero. Each field names how it is printed:
//!
//! ```text
//! name: String => always "name"      printed even when zero
//! name: String => omit "name"        vanishes when zero
//! names: Vec<String> => flow "names" as omit, in one line: [a, b]
//! inner: Inner => inline             the fields of Inner stand in this block
//! extra: Extra => skip               no part of the file
//! ```

use std::collections::HashSet;

use crate::decode::{Value, Walk, entries};
use crate::tree::Node;
use crate::yaml::Yaml;

/// The fields of a block; written by `block!`.
pub trait Fields: Sized {
    /// The type's name in error texts.
    const TYPE: &'static str;

    /// All fields zero.
    fn zeroed() -> Self;

    /// The names of the fields, inlined ones included.
    fn names(out: &mut Vec<&'static str>);

    /// Reads a field; false where the block has none of that name.
    fn set(&mut self, name: &str, value: &Node, walk: &mut Walk) -> bool;

    /// Adds the printed fields.
    fn put(&self, out: &mut Vec<(String, Yaml)>);

    /// Whether all fields are zero.
    fn all_zero(&self) -> bool;
}

/// A block with its defaults and its own checks.
pub trait Block: Fields + Default {
    /// Checks and completes a block whose fields were read without fault.
    fn finish(&mut self, _walk: &mut Walk) {}
}

impl<T: Block> Value for T {
    fn zero() -> T {
        T::zeroed()
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<T> {
        let mut block = T::default();
        decode_over(&mut block, node, walk).then_some(block)
    }

    fn encode(&self) -> Yaml {
        let mut fields = Vec::new();
        self.put(&mut fields);
        Yaml::Map(fields)
    }

    fn is_zero(&self) -> bool {
        self.all_zero()
    }
}

/// Reads a mapping over a block's present values and checks it; false where a
/// fault was recorded.
pub fn decode_over<T: Block>(block: &mut T, node: &Node, walk: &mut Walk) -> bool {
    let errors_before = walk.n_errors();
    let Some(entries) = entries(node, T::TYPE, walk) else { return false };
    let mut own_names = HashSet::new();
    for (key, value, own) in entries {
        let Some(name) = String::decode(&key, walk) else { continue };
        if own && !own_names.insert(name.clone()) {
            walk.repeated_field(&key, &name, T::TYPE);
            continue;
        }
        let known = walk.within(name.as_str(), |walk| block.set(&name, &value, walk));
        if !known {
            let mut names = Vec::new();
            T::names(&mut names);
            walk.unknown_field(&key, &name, T::TYPE, &names);
        }
    }
    if walk.n_errors() > errors_before {
        return false;
    }
    block.finish(walk);
    walk.n_errors() == errors_before
}

/// Declares a block; see the head of this file.
macro_rules! block {
    (
        $(#[$meta:meta])*
        pub struct $name:ident: $go:literal {
            $( $(#[$fmeta:meta])* $field:ident: $ty:ty => $mode:ident $($key:literal)?, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $( $(#[$fmeta])* pub $field: $ty, )* }

        impl $crate::block::Fields for $name {
            const TYPE: &'static str = $go;

            fn zeroed() -> Self {
                $name { $( $field: $crate::block::block!(@zero $mode $ty), )* }
            }

            fn names(out: &mut Vec<&'static str>) {
                $( $crate::block::block!(@names $mode $ty, out $(, $key)?); )*
            }

            fn set(&mut self, name: &str, value: &$crate::tree::Node, walk: &mut $crate::decode::Walk) -> bool {
                $( $crate::block::block!(@set $mode self.$field, name, value, walk $(, $key)?); )*
                false
            }

            fn put(&self, out: &mut Vec<(String, $crate::yaml::Yaml)>) {
                $( $crate::block::block!(@put $mode self.$field, out $(, $key)?); )*
            }

            fn all_zero(&self) -> bool {
                $( $crate::block::block!(@is_zero $mode self.$field) )&&*
            }
        }
    };

    (@zero inline $ty:ty) => { <$ty as $crate::block::Fields>::zeroed() };
    (@zero skip $ty:ty) => { <$ty>::default() };
    (@zero $mode:ident $ty:ty) => { <$ty as $crate::decode::Value>::zero() };

    (@names inline $ty:ty, $out:ident) => { <$ty as $crate::block::Fields>::names($out) };
    (@names skip $ty:ty, $out:ident) => {};
    (@names $mode:ident $ty:ty, $out:ident, $key:literal) => { $out.push($key) };

    (@set inline $place:expr, $name:ident, $value:ident, $walk:ident) => {
        if $crate::block::Fields::set(&mut $place, $name, $value, $walk) { return true; }
    };
    (@set skip $place:expr, $name:ident, $value:ident, $walk:ident) => {};
    (@set $mode:ident $place:expr, $name:ident, $value:ident, $walk:ident, $key:literal) => {
        if $name == $key {
            if let Some(read) = $crate::decode::read($value, $walk) { $place = read; }
            return true;
        }
    };

    (@put inline $place:expr, $out:ident) => { $crate::block::Fields::put(&$place, $out) };
    (@put skip $place:expr, $out:ident) => {};
    (@put always $place:expr, $out:ident, $key:literal) => {
        $out.push(($key.to_owned(), $crate::decode::Value::encode(&$place)))
    };
    (@put omit $place:expr, $out:ident, $key:literal) => {
        if !$crate::decode::Value::is_zero(&$place) {
            $out.push(($key.to_owned(), $crate::decode::Value::encode(&$place)));
        }
    };
    (@put flow $place:expr, $out:ident, $key:literal) => {
        if !$crate::decode::Value::is_zero(&$place) {
            $out.push(($key.to_owned(), $crate::decode::Value::encode(&$place).in_flow()));
        }
    };

    (@is_zero inline $place:expr) => { $crate::block::Fields::all_zero(&$place) };
    (@is_zero skip $place:expr) => { true };
    (@is_zero $mode:ident $place:expr) => { $crate::decode::Value::is_zero(&$place) };
}
pub(crate) use block;

/// Implements `Default` as all zero, for blocks whose defaults are that.
macro_rules! zero_default {
    ($($name:ident),* $(,)?) => {
        $( impl Default for $name {
            fn default() -> $name { $crate::block::Fields::zeroed() }
        } )*
    };
}
pub(crate) use zero_default;

/// Declares an enumeration of texts: its names in the file, and what is said of
/// any other text (`$text` in the closure).
macro_rules! choice {
    (
        $(#[$meta:meta])*
        pub enum $name:ident: |$text:ident| $refusal:expr => {
            $( $(#[$vmeta:meta])* $variant:ident = $label:literal, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $( $(#[$vmeta])* $variant, )* }

        impl $name {
            /// The name in the file.
            pub fn as_str(self) -> &'static str {
                match self { $( $name::$variant => $label, )* }
            }

            /// The variant of that name.
            pub fn from_name(name: &str) -> Option<$name> {
                match name { $( $label => Some($name::$variant), )* _ => None }
            }
        }

        impl $crate::decode::Choice for $name {
            fn parse(text: &str) -> Result<$name, String> {
                $name::from_name(text).ok_or_else(|| { let $text = text; $refusal })
            }

            fn text(&self) -> &'static str {
                self.as_str()
            }
        }
    };
}
pub(crate) use choice;
