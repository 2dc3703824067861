//! Character classes by name, as Go knows them: general categories, scripts,
//! the POSIX names, and what Go calls printable.
//!
//! Go's tables are of Unicode 15; those of `regex-syntax` are newer, so what was
//! assigned later is filtered out by age.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use parking_lot::Mutex;
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

const CATEGORIES: [&str; 39] = [
    "C", "Cc", "Cf", "Cn", "Co", "Cs", "L", "LC", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N",
    "Nd", "Nl", "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl",
    "Zp", "Zs", "Any",
];

const SCRIPTS: &[&str] = &[
    "Adlam",
    "Ahom",
    "Anatolian_Hieroglyphs",
    "Arabic",
    "Armenian",
    "Avestan",
    "Balinese",
    "Bamum",
    "Bassa_Vah",
    "Batak",
    "Bengali",
    "Bhaiksuki",
    "Bopomofo",
    "Brahmi",
    "Braille",
    "Buginese",
    "Buhid",
    "Canadian_Aboriginal",
    "Carian",
    "Caucasian_Albanian",
    "Chakma",
    "Cham",
    "Cherokee",
    "Chorasmian",
    "Common",
    "Coptic",
    "Cuneiform",
    "Cypriot",
    "Cypro_Minoan",
    "Cyrillic",
    "Deseret",
    "Devanagari",
    "Dives_Akuru",
    "Dogra",
    "Duployan",
    "Egyptian_Hieroglyphs",
    "Elbasan",
    "Elymaic",
    "Ethiopic",
    "Georgian",
    "Glagolitic",
    "Gothic",
    "Grantha",
    "Greek",
    "Gujarati",
    "Gunjala_Gondi",
    "Gurmukhi",
    "Han",
    "Hangul",
    "Hanifi_Rohingya",
    "Hanunoo",
    "Hatran",
    "Hebrew",
    "Hiragana",
    "Imperial_Aramaic",
    "Inherited",
    "Inscriptional_Pahlavi",
    "Inscriptional_Parthian",
    "Javanese",
    "Kaithi",
    "Kannada",
    "Katakana",
    "Kawi",
    "Kayah_Li",
    "Kharoshthi",
    "Khitan_Small_Script",
    "Khmer",
    "Khojki",
    "Khudawadi",
    "Lao",
    "Latin",
    "Lepcha",
    "Limbu",
    "Linear_A",
    "Linear_B",
    "Lisu",
    "Lycian",
    "Lydian",
    "Mahajani",
    "Makasar",
    "Malayalam",
    "Mandaic",
    "Manichaean",
    "Marchen",
    "Masaram_Gondi",
    "Medefaidrin",
    "Meetei_Mayek",
    "Mende_Kikakui",
    "Meroitic_Cursive",
    "Meroitic_Hieroglyphs",
    "Miao",
    "Modi",
    "Mongolian",
    "Mro",
    "Multani",
    "Myanmar",
    "Nabataean",
    "Nag_Mundari",
    "Nandinagari",
    "New_Tai_Lue",
    "Newa",
    "Nko",
    "Nushu",
    "Nyiakeng_Puachue_Hmong",
    "Ogham",
    "Ol_Chiki",
    "Old_Hungarian",
    "Old_Italic",
    "Old_North_Arabian",
    "Old_Permic",
    "Old_Persian",
    "Old_Sogdian",
    "Old_South_Arabian",
    "Old_Turkic",
    "Old_Uyghur",
    "Oriya",
    "Osage",
    "Osmanya",
    "Pahawh_Hmong",
    "Palmyrene",
    "Pau_Cin_Hau",
    "Phags_Pa",
    "Phoenician",
    "Psalter_Pahlavi",
    "Rejang",
    "Runic",
    "Samaritan",
    "Saurashtra",
    "Sharada",
    "Shavian",
    "Siddham",
    "SignWriting",
    "Sinhala",
    "Sogdian",
    "Sora_Sompeng",
    "Soyombo",
    "Sundanese",
    "Syloti_Nagri",
    "Syriac",
    "Tagalog",
    "Tagbanwa",
    "Tai_Le",
    "Tai_Tham",
    "Tai_Viet",
    "Takri",
    "Tamil",
    "Tangsa",
    "Tangut",
    "Telugu",
    "Thaana",
    "Thai",
    "Tibetan",
    "Tifinagh",
    "Tirhuta",
    "Toto",
    "Ugaritic",
    "Vai",
    "Vithkuqi",
    "Wancho",
    "Warang_Citi",
    "Yezidi",
    "Yi",
    "Zanabazar_Square",
];

/// Other names of categories, without case and underscores.
const ALIASES: &[(&str, &str)] = &[
    ("casedletter", "LC"),
    ("closepunctuation", "Pe"),
    ("combiningmark", "M"),
    ("connectorpunctuation", "Pc"),
    ("control", "Cc"),
    ("currencysymbol", "Sc"),
    ("dashpunctuation", "Pd"),
    ("decimalnumber", "Nd"),
    ("enclosingmark", "Me"),
    ("finalpunctuation", "Pf"),
    ("format", "Cf"),
    ("initialpunctuation", "Pi"),
    ("letter", "L"),
    ("letternumber", "Nl"),
    ("lineseparator", "Zl"),
    ("lowercaseletter", "Ll"),
    ("mark", "M"),
    ("mathsymbol", "Sm"),
    ("modifierletter", "Lm"),
    ("modifiersymbol", "Sk"),
    ("nonspacingmark", "Mn"),
    ("number", "N"),
    ("openpunctuation", "Ps"),
    ("other", "C"),
    ("otherletter", "Lo"),
    ("othernumber", "No"),
    ("otherpunctuation", "Po"),
    ("othersymbol", "So"),
    ("paragraphseparator", "Zp"),
    ("privateuse", "Co"),
    ("punctuation", "P"),
    ("separator", "Z"),
    ("spaceseparator", "Zs"),
    ("spacingmark", "Mc"),
    ("surrogate", "Cs"),
    ("symbol", "S"),
    ("titlecaseletter", "Lt"),
    ("unassigned", "Cn"),
    ("uppercaseletter", "Lu"),
    ("cntrl", "Cc"),
    ("digit", "Nd"),
    ("punct", "P"),
];

/// The class of `\p{name}` where case, spaces, dashes and underscores do not count
/// and categories have long names. `None`: there is no such name.
pub(super) fn loosely_named_class(name: &str) -> Option<ClassUnicode> {
    let plain = |name: &str| -> String {
        let letters = name.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
        letters.map(|c| c.to_ascii_lowercase()).collect()
    };
    let wanted = plain(name);
    match wanted.as_str() {
        "ascii" => return posix_class("ascii"),
        "assigned" => {
            let mut class = named_class("Cn")?;
            class.negate();
            return Some(class);
        }
        _ => {}
    }
    let alias = ALIASES.iter().find(|(alias, _)| *alias == wanted).map(|(_, name)| *name);
    let own = || CATEGORIES.iter().chain(SCRIPTS).copied().find(|name| plain(name) == wanted);
    named_class(alias.or_else(own)?)
}

/// The characters of `\p{name}`; names are case-sensitive. `None`: there is no such name.
pub(super) fn named_class(name: &str) -> Option<ClassUnicode> {
    // Making a class takes long, and a pattern may ask for one many times over.
    static MADE: Mutex<BTreeMap<&'static str, ClassUnicode>> = Mutex::new(BTreeMap::new());
    let name = *CATEGORIES.iter().chain(SCRIPTS).find(|known| **known == name)?;
    Some(MADE.lock().entry(name).or_insert_with(|| make_class(name)).clone())
}

fn make_class(name: &str) -> ClassUnicode {
    match name {
        "Any" => of_ranges(&[('\0', char::MAX)]),
        // UTF-8 text has no surrogates.
        "Cs" => ClassUnicode::empty(),
        "C" | "Cn" => parse_class(&format!(r"[\p{{gc:{name}}}\P{{age:15.0}}]")),
        _ if CATEGORIES.contains(&name) => parse_class(&format!(r"[\p{{gc:{name}}}&&\p{{age:15.0}}]")),
        _ => parse_class(&format!(r"[\p{{sc:{name}}}&&\p{{age:15.0}}]")),
    }
}

/// The characters of `[:name:]`; `None`: no such name.
pub(super) fn posix_class(name: &str) -> Option<ClassUnicode> {
    Some(of_ranges(match name {
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\x7f')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\x1f'), ('\x7f', '\x7f')],
        "digit" => &[('0', '9')],
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "word" => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return None,
    }))
}

/// The characters of `\d`, `\s` and `\w`: ASCII, and no vertical tab among the spaces.
pub(super) fn perl_class(letter: u8) -> Option<ClassUnicode> {
    match letter {
        b'd' => posix_class("digit"),
        b's' => Some(of_ranges(&[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')])),
        b'w' => posix_class("word"),
        _ => None,
    }
}

/// Whether Go's `unicode.IsLetter` holds.
pub fn is_letter(c: char) -> bool {
    static LETTERS: LazyLock<ClassUnicode> =
        LazyLock::new(|| named_class("L").unwrap_or_else(ClassUnicode::empty));
    if c.is_ascii() { c.is_ascii_alphabetic() } else { contains(&LETTERS, c) }
}

/// Whether Go's `unicode.IsDigit` holds.
pub fn is_digit(c: char) -> bool {
    static DIGITS: LazyLock<ClassUnicode> =
        LazyLock::new(|| named_class("Nd").unwrap_or_else(ClassUnicode::empty));
    if c.is_ascii() { c.is_ascii_digit() } else { contains(&DIGITS, c) }
}

/// Whether Go's `unicode.IsPrint` holds: letters, marks, numbers, punctuation,
/// symbols and the plain space.
pub fn is_print(c: char) -> bool {
    static PRINTABLE: LazyLock<ClassUnicode> =
        LazyLock::new(|| parse_class(r"[[\p{L}\p{M}\p{N}\p{P}\p{S}]&&\p{age:15.0}]"));
    if c.is_ascii() { c == ' ' || c.is_ascii_graphic() } else { contains(&PRINTABLE, c) }
}

/// Whether the class has the character.
pub(super) fn contains(class: &ClassUnicode, c: char) -> bool {
    class
        .ranges()
        .binary_search_by(|range| {
            if range.end() < c {
                std::cmp::Ordering::Less
            } else if range.start() > c {
                std::cmp::Ordering::Greater
            } else {
                std::cmp::Ordering::Equal
            }
        })
        .is_ok()
}

/// A class from pairs of first and last characters.
pub(super) fn of_ranges(ranges: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(ranges.iter().map(|(first, last)| ClassUnicodeRange::new(*first, *last)))
}

/// Characters that may have case variants.
static CASED: LazyLock<ClassUnicode> = LazyLock::new(|| parse_class(r"[\p{CWCM}\p{CWCF}]"));

/// Adds every simple case variant.
pub(super) fn fold(class: &mut ClassUnicode) {
    // Variants are looked for character by character, so where there are many
    // only among those that may have any.
    let mut cased = class.clone();
    if cased.ranges().iter().map(|range| range.len()).sum::<usize>() > 256 {
        cased.intersect(&CASED);
    }
    cased.try_case_fold_simple().expect("the tables for case folding are compiled in");
    class.union(&cased);
}

fn parse_class(text: &str) -> ClassUnicode {
    let hir = regex_syntax::parse(text).expect("the text of a class is one of ours");
    match hir.into_kind() {
        HirKind::Class(Class::Unicode(class)) => class,
        HirKind::Literal(text) => {
            let c = std::str::from_utf8(&text.0).ok().and_then(|text| text.chars().next());
            of_ranges(c.map(|c| (c, c)).as_slice())
        }
        _ => ClassUnicode::empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cased_characters_have_variants() {
        let mut others = CASED.clone();
        others.negate();
        let mut folded = others.clone();
        folded.case_fold_simple();
        assert_eq!(folded, others);
    }

    #[test]
    fn folding_a_wide_class_equals_folding_it_whole() {
        let mut class = of_ranges(&[('[', '\u{2ff}'), ('\u{1000}', '\u{2000}')]);
        let mut whole = class.clone();
        whole.case_fold_simple();
        fold(&mut class);
        assert_eq!(class, whole);
    }

    #[test]
    fn names_are_exact_or_loose() {
        for name in ["L", "Lu", "Greek", "Old_Italic", "Any", "Cn"] {
            assert!(named_class(name).is_some(), "{name}");
            assert_eq!(named_class(name), loosely_named_class(&format!(" {}-", name.to_lowercase())));
        }
        assert_eq!(named_class("Lu"), loosely_named_class("Uppercase Letter"));
        assert!(
            named_class("lu").is_none()
                && named_class("Letter").is_none()
                && loosely_named_class("x").is_none()
        );
    }
}
