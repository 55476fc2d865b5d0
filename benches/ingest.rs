//! How fast files become blobs, beside the hashes that bound it. `cargo bench --bench ingest [-- MIB]`; prints MB/s.

use std::{fs, hint::black_box, path::PathBuf, time::Instant};

use mlreg::{
    base::{Blake3, BlobHasher, ByteRange, Digest},
    store::{Cut, Segmentation, Store},
};

#[expect(clippy::disallowed_methods, reason = "cargo says where a bench may write")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mebibytes: u64 = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(512);
    let size = mebibytes << 20;
    let folder =
        tempfile::tempdir_in(std::env::var_os("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from))?;
    let path = |name: &str| folder.path().join(name);
    let mut bytes = vec![0; size as usize];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    fs::write(path("one"), &bytes)?;
    for part in 0..4 {
        let length = bytes.len() / 4;
        fs::write(path(&part.to_string()), &bytes[part * length..(part + 1) * length])?;
    }
    measure("sha256 alone", size, || _ = black_box(Digest::of(&bytes)));
    measure("blake3 alone", size, || _ = black_box(Blake3::of(&bytes)));
    measure("both, two threads", size, || _ = black_box(BlobHasher::hash(&bytes)));
    measure("write and sync alone", size, || {
        let mut file = fs::File::create(path("copy")).expect("a file in the temporary folder");
        std::io::Write::write_all(&mut file, &bytes)
            .and_then(|()| file.sync_data())
            .expect("room in the temporary folder");
    });
    fs::remove_file(path("copy"))?;
    let tensors = (0..size / (8 << 20)).filter_map(|index| ByteRange::new((index * (8 << 20)) + 64, (8 << 20) - 64));
    let cuts = Segmentation::Cuts(tensors.map(|range| Cut { range, label: None }).collect());
    for (name, segmentation) in
        [("whole", Segmentation::Whole), ("chunks", Segmentation::ContentDefined), ("tensors", cuts)]
    {
        let store = Store::open(&path(name))?;
        measure(&format!("ingest one file, {name}"), size, || {
            drop(store.ingest_file(&path("one"), segmentation.clone()).expect("ingested"))
        });
        measure(&format!("  the same again, {name}"), size, || {
            drop(store.ingest_file(&path("one"), segmentation.clone()).expect("ingested"))
        });
        fs::remove_dir_all(path(name))?;
    }
    let store = Store::open(&path("parallel"))?;
    let files = (0..4).map(|part| (path(&part.to_string()), Segmentation::ContentDefined)).collect();
    measure("ingest 4 files at once, chunks", size, || drop(store.ingest_files(files).expect("ingested")));
    measure("verify the 4 blobs", size, || drop(store.verify(&|_, _| ()).expect("verified")));
    Ok(())
}

fn measure(name: &str, size: u64, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    let seconds = start.elapsed().as_secs_f64();
    #[expect(clippy::print_stdout, reason = "the numbers are what this program is for")]
    {
        println!("{name:<32} {:>8.0} MB/s", size as f64 / 1e6 / seconds);
    }
}
