//! What can be understood of a record whose bytes are whole but make no sense
//! to their end.

use super::{
    RecordType, decode_exemplars, decode_float_histograms, decode_histograms, decode_metadata,
    decode_mmap_markers, decode_samples, decode_series, decode_tombstones, put_custom_float_histograms,
    put_custom_histograms, put_exemplars, put_float_histograms, put_float_histograms_v2, put_histograms,
    put_histograms_v2, put_metadata, put_mmap_markers, put_samples, put_samples_v2, put_series,
    put_tombstones,
};

/// `None` where a record is understood wholly, or is of an unknown type, which
/// readers pass over; else what precedes the damage, as records that are whole.
pub fn understood(record: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut out = Vec::new();
    let mut first = Vec::new();
    let mut second = Vec::new();
    let kind = RecordType::of(record)?;
    let is_whole = match kind {
        RecordType::Series => {
            let mut all = Vec::new();
            let result = decode_series(record, &mut all);
            put_series(&mut first, all.iter().map(|entry| (entry.series, &entry.labels)));
            result.is_ok()
        }
        RecordType::Samples | RecordType::SamplesV2 => {
            let mut all = Vec::new();
            let result = decode_samples(record, &mut all);
            if all.is_empty() {
            } else if kind == RecordType::Samples {
                put_samples(&mut first, all);
            } else {
                put_samples_v2(&mut first, all);
            }
            result.is_ok()
        }
        RecordType::Histograms | RecordType::CustomHistograms => {
            let mut all = Vec::new();
            let result = decode_histograms(record, &mut all);
            keep(&mut first, |out| put_histograms(out, &all));
            keep(&mut second, |out| put_custom_histograms(out, &all));
            result.is_ok()
        }
        RecordType::HistogramsV2 => {
            let mut all = Vec::new();
            let result = decode_histograms(record, &mut all);
            put_histograms_v2(&mut first, &all);
            result.is_ok()
        }
        RecordType::FloatHistograms | RecordType::CustomFloatHistograms => {
            let mut all = Vec::new();
            let result = decode_float_histograms(record, &mut all);
            keep(&mut first, |out| put_float_histograms(out, &all));
            keep(&mut second, |out| put_custom_float_histograms(out, &all));
            result.is_ok()
        }
        RecordType::FloatHistogramsV2 => {
            let mut all = Vec::new();
            let result = decode_float_histograms(record, &mut all);
            put_float_histograms_v2(&mut first, &all);
            result.is_ok()
        }
        RecordType::Tombstones => {
            let mut all = Vec::new();
            let result = decode_tombstones(record, &mut all);
            put_tombstones(&mut first, all);
            result.is_ok()
        }
        RecordType::Exemplars => {
            let mut all = Vec::new();
            let result = decode_exemplars(record, &mut all);
            put_exemplars(&mut first, &all);
            result.is_ok()
        }
        RecordType::Metadata => {
            let mut all = Vec::new();
            let result = decode_metadata(record, &mut all);
            put_metadata(&mut first, all.iter().map(|entry| (entry.series, &entry.metadata)));
            result.is_ok()
        }
        RecordType::MmapMarkers => {
            let mut all = Vec::new();
            let result = decode_mmap_markers(record, &mut all);
            put_mmap_markers(&mut first, all);
            result.is_ok()
        }
    };
    if is_whole {
        return None;
    }
    // A record of one byte says nothing.
    out.extend([first, second].into_iter().filter(|record| record.len() > 1));
    Some(out)
}

fn keep(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>) -> bool) {
    if !put(out) {
        out.clear();
    }
}
