//! Formats, flags and values, with what Go prints for them.

use super::*;
use crate::value::Sample;
use std::sync::Arc;

fn printf(format: &str, args: &[Value]) -> String {
    String::from_utf8(sprintf(format.as_bytes(), args)).unwrap()
}

#[test]
fn verbs_take_flags_width_and_precision() {
    let text = Value::text("h\u{e9}llo");
    for (format, value, shown) in [
        ("%d|", Value::int(42), "42|"),
        ("%+06d", Value::int(42), "+00042"),
        ("%-6d|", Value::int(-42), "-42   |"),
        ("%#x", Value::int(255), "0xff"),
        ("%#o", Value::int(8), "010"),
        ("%O", Value::int(8), "0o10"),
        ("%08.3f", Value::Float(-2.34567), "-002.346"),
        ("%+.2e", Value::Float(12345.678), "+1.23e+04"),
        ("%6.2f%%", Value::Float(99.5), " 99.50%"),
        ("%v", Value::Float(1e6), "1e+06"),
        ("%g", Value::Float(0.00001), "1e-05"),
        ("%#g", Value::Float(1.0), "1.00000"),
        ("%#.3x", Value::Float(1.0), "0x1.000p+00"),
        ("%q", text.clone(), "\"h\u{e9}llo\""),
        ("%+q", text.clone(), "\"h\\u00e9llo\""),
        ("%#q", text.clone(), "`h\u{e9}llo`"),
        ("%.2s|", text.clone(), "h\u{e9}|"),
        ("%7s|", text.clone(), "  h\u{e9}llo|"),
        ("% x", Value::text("abc"), "61 62 63"),
        ("%#X", Value::text("abc"), "0X616263"),
        ("%c", Value::int(0x4e16), "\u{4e16}"),
        ("%U", Value::int(0x1f600), "U+1F600"),
        ("%#U", Value::int(0x263a), "U+263A '\u{263a}'"),
        ("%t", Value::Bool(true), "true"),
        ("%T", Value::Any(None), "<nil>"),
        ("%T", Value::Str(crate::value::StrType::Html, Arc::from([])), "template.HTML"),
        ("%v", Value::Int(IntType::Duration, 1_500_000_000), "1.5s"),
        ("%d", Value::Int(IntType::Month, 3), "3"),
        ("%s", Value::Int(IntType::Month, 3), "March"),
    ] {
        assert_eq!(printf(format, &[value]), shown, "{format}");
    }
}

#[test]
fn faults_are_written_into_the_result() {
    for (format, args, shown) in [
        ("%d", vec![Value::text("x")], "%!d(string=x)"),
        ("%s", vec![Value::int(1)], "%!s(int=1)"),
        ("%z", vec![Value::Float(1.0)], "%!z(float64=1)"),
        ("%d %d", vec![Value::int(1)], "1 %!d(MISSING)"),
        ("%d", vec![Value::int(1), Value::text("x")], "1%!(EXTRA string=x)"),
        ("%", vec![], "%!(NOVERB)"),
        ("%[5]d", vec![Value::int(1)], "%!d(BADINDEX)"),
        ("%[2]d %[1]d", vec![Value::int(1), Value::int(2)], "2 1"),
        ("%*d", vec![Value::int(4), Value::int(2)], "   2"),
        ("%*d", vec![Value::text("a"), Value::int(2)], "%!(BADWIDTH)2"),
        ("%.*f", vec![Value::int(1), Value::Float(2.25)], "2.2"),
        ("%.*f", vec![Value::int(-1), Value::Float(2.25)], "%!(BADPREC)2.250000"),
        ("%d", vec![Value::Nothing], "%!d(<nil>)"),
        ("%!", vec![Value::int(1)], "%!!(int=1)"),
    ] {
        assert_eq!(printf(format, &args), shown, "{format}");
    }
}

#[test]
fn maps_slices_and_structs_print_their_parts() {
    let map = Value::Map(Map::of_strings([("b", "2"), ("a", "1")]));
    assert_eq!(
        printf("%v %d", &[map.clone(), map.clone()]),
        "map[a:1 b:2] map[%!d(string=a):%!d(string=1) %!d(string=b):%!d(string=2)]"
    );
    assert_eq!(printf("%#v", &[map]), "map[string]string{\"a\":\"1\", \"b\":\"2\"}");
    let sample = Value::Sample(Some(Arc::new(Sample::new([("a", "1")], Value::Float(2.5)))));
    assert_eq!(
        printf("%v %+v", &[sample.clone(), sample.clone()]),
        "&{map[a:1] 2.5} &{Labels:map[a:1] Value:2.5}"
    );
    let list = Value::Slice(Slice::new(SliceType::Strings, vec![Value::text("a"), Value::text("b c")]));
    assert_eq!(printf("%v %q", &[list.clone(), list]), "[a b c] [\"a\" \"b c\"]");
}

#[test]
fn print_puts_spaces_between_what_is_no_text() {
    let args = [Value::int(1), Value::int(2), Value::text("a"), Value::Float(3.0), Value::Bool(true)];
    assert_eq!(sprint(&args), b"1 2a3 true");
    assert_eq!(sprintln(&args), b"1 2 a 3 true\n");
}
