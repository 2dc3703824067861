//! Of the disk itself.

use model::Fs;

use super::*;

fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new("d")).unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    disk
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_a_kill_keeps_all() {
    let disk = disk();
    let mut file = disk.create(Path::new("d/f")).unwrap();
    file.write_all(b"safe").unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("d")).unwrap();
    file.write_all(b" and not").unwrap();
    assert_eq!(disk.after_kill().read(Path::new("d/f")).unwrap(), b"safe and not");
    assert_eq!(disk.after_power_cut(Unsynced::Lost).read(Path::new("d/f")).unwrap(), b"safe");
    for seed in 0..50 {
        let bytes = disk.after_power_cut(Unsynced::Mixed(seed)).read(Path::new("d/f")).unwrap();
        assert!(bytes.starts_with(b"safe") && bytes.len() <= 12, "{bytes:?}");
    }
}

#[test]
fn a_name_is_lost_unless_its_folder_was_synced() {
    let disk = disk();
    let mut file = disk.create(Path::new("d/f")).unwrap();
    file.write_all(b"x").unwrap();
    file.sync().unwrap();
    assert!(!disk.after_power_cut(Unsynced::Lost).exists(Path::new("d/f")));
    disk.sync_dir(Path::new("d")).unwrap();
    disk.rename(Path::new("d/f"), Path::new("d/g")).unwrap();
    let after = disk.after_power_cut(Unsynced::Lost);
    assert!(after.exists(Path::new("d/f")) && !after.exists(Path::new("d/g")));
    disk.sync_dir(Path::new("d")).unwrap();
    let after = disk.after_power_cut(Unsynced::Lost);
    assert!(!after.exists(Path::new("d/f")) && after.exists(Path::new("d/g")));
}

#[test]
fn faults_come_at_their_change_and_a_full_disk_can_be_freed() {
    let disk = disk();
    let mut file = disk.create(Path::new("d/f")).unwrap();
    disk.fail_at(disk.changes() + 1, Fault::Full);
    file.write_all(b"1234").unwrap();
    assert_eq!(file.write_all(b"5678").unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.read(Path::new("d/f")).unwrap(), b"123456", "half of it was written");
    disk.free();
    file.write_all(b"!").unwrap();
    assert_eq!(disk.read(Path::new("d/f")).unwrap(), b"1234!6", "the half is written over");
    disk.fail_at(disk.changes(), Fault::StopTorn);
    assert!(file.write_all(b"abcd").is_err());
    assert!(file.write_all(b"x").is_err() && disk.is_stopped());
    assert_eq!(disk.after_kill().read(Path::new("d/f")).unwrap(), b"1234!ab");
}

#[test]
fn images_show_every_place_to_stop() {
    let disk = disk();
    let mut file = disk.create(Path::new("d/f")).unwrap();
    disk.record_images(1);
    file.write_all(&[7; 6000]).unwrap();
    file.sync().unwrap();
    let images = disk.take_images();
    let len = |image: &Image| image.disk.after_kill().read(Path::new("d/f")).unwrap().len();
    let torn: Vec<usize> = images.iter().filter(|image| image.torn.is_some()).map(len).collect();
    assert!(torn.contains(&4096) && torn.contains(&5632) && torn.contains(&3000), "{torn:?}");
    assert!(torn.iter().all(|len| (1..6000).contains(len)));
    let whole: Vec<usize> = images.iter().filter(|image| image.torn.is_none()).map(len).collect();
    assert_eq!(whole, [0, 6000], "before the write, before the sync");
    assert!(disk.take_images().is_empty());
    assert_eq!(len(&Image { change: 0, torn: None, disk: disk.clone() }), 6000);
}

#[test]
fn a_folder_is_renamed_or_not_but_never_half() {
    let disk = disk();
    for path in ["d/x", "d/x/chunks"] {
        disk.create_dir_all(Path::new(path)).unwrap();
    }
    for path in ["d/x/a", "d/x/b", "d/x/chunks/1"] {
        disk.create(Path::new(path)).unwrap();
    }
    for path in ["d/x/chunks", "d/x", "d"] {
        disk.sync_dir(Path::new(path)).unwrap();
    }
    disk.rename(Path::new("d/x"), Path::new("d/y")).unwrap();
    let mut seen = [false; 2];
    for seed in 0..50 {
        let after = disk.after_power_cut(Unsynced::Mixed(seed));
        let is_there =
            |dir: &str| ["a", "b", "chunks/1"].map(|name| after.exists(&Path::new(dir).join(name)));
        match (is_there("d/x"), is_there("d/y")) {
            ([true, true, true], [false, false, false]) => seen[0] = true,
            ([false, false, false], [true, true, true]) => seen[1] = true,
            half => panic!("{half:?}"),
        }
    }
    assert_eq!(seen, [true, true]);
}

#[test]
fn unsynced_pages_are_written_in_any_order() {
    let disk = disk();
    let mut file = disk.create(Path::new("d/f")).unwrap();
    file.write_all(&[1; 512]).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("d")).unwrap();
    file.write_all(&[2; 4096]).unwrap();
    let holed = (0..200).any(|seed| {
        let bytes = disk.after_power_cut(Unsynced::Mixed(seed)).read(Path::new("d/f")).unwrap();
        assert_eq!(bytes[..512], [1; 512], "what was synced stays");
        bytes.len() == 4608 && bytes[600] == 0 && bytes[4607] == 2
    });
    assert!(holed, "a later sector may be there without an earlier one");
}

#[test]
fn a_lock_is_held_by_one() {
    let disk = disk();
    let lock = disk.lock(Path::new("d/lock")).unwrap();
    assert!(disk.lock(Path::new("d/lock")).is_err());
    drop(lock);
    assert!(disk.lock(Path::new("d/lock")).is_ok());
}
