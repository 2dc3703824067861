//! Protobuf's wire format, written field by field.

/// Appends a varint.
pub fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a string, bytes or message field.
pub fn bytes(out: &mut Vec<u8>, field: u64, content: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

/// Appends a message field that a function writes.
pub fn message(out: &mut Vec<u8>, field: u64, write: impl FnOnce(&mut Vec<u8>)) {
    let mut content = Vec::new();
    write(&mut content);
    bytes(out, field, &content);
}

/// Appends an integer or enum field.
pub fn number(out: &mut Vec<u8>, field: u64, n: u64) {
    varint(out, field << 3);
    varint(out, n);
}

/// Appends a zig-zag integer field.
pub fn signed(out: &mut Vec<u8>, field: u64, n: i64) {
    number(out, field, zigzag(n));
}

/// Appends a double field.
pub fn double(out: &mut Vec<u8>, field: u64, value: f64) {
    varint(out, field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// The zig-zag form of an integer.
pub fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_the_format_says() {
        let mut out = Vec::new();
        number(&mut out, 1, 150);
        bytes(&mut out, 2, b"hi");
        signed(&mut out, 3, -1);
        double(&mut out, 4, 1.0);
        message(&mut out, 5, |out| number(out, 1, 0));
        assert_eq!(
            out,
            [
                0x08, 0x96, 1, 0x12, 2, b'h', b'i', 0x18, 1, 0x21, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x2a, 2,
                0x08, 0
            ]
        );
    }
}
