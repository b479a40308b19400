//! Every file of the corpus, replayed in the ordinary build: what once found a fault finds it again.

use std::fs;
use std::path::Path;

#[test]
fn the_corpus_finds_nothing() {
    // Shows that each target takes each of its files without a panic, and that there are files.
    for (name, run) in fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut paths: Vec<_> =
            fs::read_dir(&folder).expect("the corpus").map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        assert!(paths.len() > 10, "{} files in {}", paths.len(), folder.display());
        for path in paths {
            println!("{}", path.display());
            run(&fs::read(&path).expect("a readable file"));
        }
    }
}
