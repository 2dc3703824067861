//! Pages like those of node_exporter, rendered before they are needed.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Series of one family.
const SERIES_PER_FAMILY: usize = 20;
/// Different pages that a target shows in turn.
pub const VARIANTS: usize = 16;

/// A page of so many series, as text 0.0.4; six in ten values stay as they are
/// from variant to variant.
pub fn text_page(series: usize, variant: usize) -> Vec<u8> {
    let mut page = String::with_capacity(series * 96);
    for i in 0..series {
        let (family, member) = (i / SERIES_PER_FAMILY, i % SERIES_PER_FAMILY);
        if member == 0 {
            page.push_str(&format!("# HELP node_metric_{family}_total What metric number {family} tells.\n"));
            page.push_str(&format!("# TYPE node_metric_{family}_total counter\n"));
        }
        let moved = if member % 5 < 3 { 0 } else { variant };
        let value = (family * 31 + member) as f64 * 1.25 + moved as f64 * 3.5;
        page.push_str(&format!(
            "node_metric_{family}_total{{device=\"dev{member}\",mode=\"user\",namespace=\"monitoring\"}} {value}\n"
        ));
    }
    page.into_bytes()
}

/// The bytes in gzip, as fast exporters pack them.
pub fn gzip(page: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(5));
    encoder.write_all(page).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}
