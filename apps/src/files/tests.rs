//! Tests of the file thread with real files in a folder of their own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, SystemTime};

use super::*;
use crate::http::file_path;

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("corelane-files-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("root/folder")).expect("a writable temporary folder");
        Folder(path)
    }

    fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    /// Write a file whose time of change is long past, so that it counts as settled.
    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.root().join(name);
        fs::write(&path, bytes).expect("the folder is writable");
        age(&path, 60);
        path
    }
}

fn age(path: &Path, seconds: u64) {
    let then = SystemTime::now() - Duration::from_secs(seconds);
    fs::File::options()
        .write(true)
        .open(path)
        .and_then(|file| file.set_modified(then))
        .expect("the file is ours");
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A lane's end whose answers are waited for, which only tests do.
struct Asker {
    lane: LaneFiles,
}

impl Asker {
    fn new(files: &Files) -> Asker {
        Asker { lane: files.lane(LaneWaker::default()) }
    }

    fn answer(&mut self) -> Answer {
        let answer =
            self.lane.inbox.recv_timeout(Duration::from_secs(10)).expect("an answer within ten seconds");
        self.lane.underway -= 1;
        answer
    }

    fn open(&mut self, target: &str) -> Result<OpenedFile, OpenError> {
        let path = file_path(target).expect("a good target");
        self.lane.ask(Question::Open { ticket: 7, path });
        match self.answer() {
            Answer::Opened { ticket: 7, result } => result,
            other => panic!("{other:?}"),
        }
    }

    fn read(&mut self, file: FileKey, index: u64) -> Option<Bytes> {
        self.lane.ask(Question::Read { ticket: 8, file, index });
        match self.answer() {
            Answer::Chunk { ticket: 8, index: same, result } if same == index => result,
            other => panic!("{other:?}"),
        }
    }

    fn download(&mut self, target: &str) -> Option<Vec<u8>> {
        let opened = self.open(target).expect("the file is there");
        let mut bytes = opened.first.to_vec();
        for index in 1..opened.identity.chunks() {
            bytes.extend_from_slice(&self.read(opened.rest?, index)?);
        }
        Some(bytes)
    }
}

fn pattern(length: usize, seed: usize) -> Vec<u8> {
    let byte = |at: usize| u8::try_from((at / 7 + at * seed) % 251).expect("below 251");
    (0..length).map(byte).collect()
}

const TIGHT: CacheOptions = CacheOptions { large_blocks: 4, small_blocks: 2 };

#[test]
fn files_come_whole_through_a_cache_smaller_than_they_are() {
    // Shows lengths around every edge, with a cache of four chunks and a file of eleven.
    let folder = Folder::new();
    let files = Files::start(&folder.root(), TIGHT).expect("the root is there");
    let mut asker = Asker::new(&files);
    for length in [0, 1, 16_384, 16_385, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 10 * CHUNK_BYTES + 5]
    {
        let bytes = pattern(length, 3);
        folder.write("file.bin", &bytes);
        assert!(asker.download("/file.bin").as_ref() == Some(&bytes), "{length} bytes");
    }
}

#[test]
fn folders_indices_and_absent_files_are_told_apart() {
    // Shows a folder with and without its slash, its index, and everything that is not there.
    let folder = Folder::new();
    folder.write("index.html", b"root");
    folder.write("folder/index.html", b"inner");
    fs::create_dir(folder.root().join("bare")).expect("writable");
    let files = Files::start(&folder.root(), TIGHT).expect("the root is there");
    let mut asker = Asker::new(&files);
    let root = asker.open("/").expect("an index");
    assert_eq!(
        (&root.first[..], root.media_type, root.rest),
        (&b"root"[..], "text/html; charset=utf-8", None)
    );
    assert_eq!(asker.open("/folder/").expect("an index").first, "inner");
    assert_eq!(asker.open("/folder").err(), Some(OpenError::Folder));
    for absent in
        ["/bare/", "/none", "/none/", "/index.html/", "/index.html/x", &format!("/{}", "x".repeat(300))]
    {
        assert_eq!(asker.open(absent).err(), Some(OpenError::NotFound), "{absent}");
    }
}

#[test]
fn symbolic_links_may_not_leave_the_root() {
    // Shows a link to a file, to a folder and to a folder whose name begins like the root's, all outside; one inside.
    let folder = Folder::new();
    folder.write("real.txt", b"inside");
    fs::create_dir(folder.0.join("root-not")).expect("writable");
    for outside in ["secret.txt", "root-not/secret.txt"] {
        fs::write(folder.0.join(outside), b"secret").expect("writable");
    }
    let link = |to: &Path, name: &str| symlink(to, folder.root().join(name)).expect("links can be made");
    link(&folder.0.join("secret.txt"), "file");
    link(Path::new("../secret.txt"), "relative");
    link(&folder.0, "up");
    link(&folder.0.join("root-not"), "sibling");
    link(Path::new("real.txt"), "good");
    link(Path::new("loop"), "loop");
    let files = Files::start(&folder.root(), TIGHT).expect("the root is there");
    let mut asker = Asker::new(&files);
    for target in ["/file", "/relative", "/up/secret.txt", "/up", "/up/", "/sibling/secret.txt", "/loop"] {
        assert_eq!(asker.open(target).err(), Some(OpenError::NotFound), "{target}");
    }
    assert_eq!(asker.open("/good").expect("inside").first, "inside");
}

#[test]
fn a_fifo_or_socket_does_not_stop_the_file_thread() {
    // Shows that what is no regular file is absent, and that the next question is answered.
    let folder = Folder::new();
    folder.write("after.txt", b"after");
    let fifo = folder.root().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo is there");
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(folder.root().join("socket")).expect("a short path");
    let files = Files::start(&folder.root(), TIGHT).expect("the root is there");
    let mut asker = Asker::new(&files);
    assert_eq!(asker.open("/fifo").err(), Some(OpenError::NotFound));
    assert_eq!(asker.open("/socket").err(), Some(OpenError::NotFound));
    assert_eq!(asker.open("/after.txt").expect("there").first, "after");
}

#[test]
fn a_file_that_changes_in_mid_download_ends_it() {
    // Shows truncation, growth and rewriting in place: chunks from before come, or none; never one of another version.
    let change: [fn(&Path); 3] = [
        |path| fs::File::options().write(true).open(path).and_then(|file| file.set_len(5)).expect("ours"),
        |path| {
            use std::io::Write as _;
            fs::File::options()
                .append(true)
                .open(path)
                .and_then(|mut file| file.write_all(b"more"))
                .expect("ours");
        },
        |path| fs::write(path, pattern(8 * CHUNK_BYTES, 5)).expect("ours"),
    ];
    for change in change {
        let folder = Folder::new();
        let old = pattern(8 * CHUNK_BYTES, 3);
        let path = folder.write("file.bin", &old);
        let files = Files::start(&folder.root(), TIGHT).expect("the root is there");
        let mut asker = Asker::new(&files);
        let opened = asker.open("/file.bin").expect("there");
        let rest = opened.rest.expect("more than a chunk");
        change(&path);
        let mut ended = false;
        for index in 1..8 {
            let start = usize::try_from(index).expect("small") * CHUNK_BYTES;
            match asker.read(rest, index) {
                Some(bytes) => {
                    assert!(bytes == old[start..start + CHUNK_BYTES], "chunk {index} of another version")
                }
                None => ended = true,
            }
        }
        assert!(ended, "chunks that were not in memory cannot have come");
        assert!(opened.first == old[..CHUNK_BYTES]);
    }
}

#[test]
fn a_file_replaced_or_deleted_in_mid_download_comes_as_it_was() {
    // Shows that the open descriptor keeps the old version to the end, while a new download has the new one.
    let folder = Folder::new();
    let (old, new) = (pattern(6 * CHUNK_BYTES, 3), pattern(6 * CHUNK_BYTES, 5));
    let path = folder.write("file.bin", &old);
    let fresh = folder.write("fresh.bin", &new);
    let files = Files::start(&folder.root(), TIGHT).expect("the root is there");
    let mut asker = Asker::new(&files);
    let opened = asker.open("/file.bin").expect("there");
    fs::rename(&fresh, &path).expect("ours");
    let mut bytes = opened.first.to_vec();
    for index in 1..6 {
        bytes.extend_from_slice(&asker.read(opened.rest.expect("chunks"), index).expect("the old version"));
    }
    assert!(bytes == old);
    assert!(asker.download("/file.bin") == Some(new));
    fs::remove_file(&path).expect("ours");
    assert_eq!(asker.open("/file.bin").err(), Some(OpenError::NotFound));
}

#[test]
fn reads_wait_in_order_while_lanes_hold_every_block() {
    // Shows back-pressure: with all four chunks held, further reads wait, and come in order as chunks are let go.
    let folder = Folder::new();
    let bytes = pattern(10 * CHUNK_BYTES, 3);
    folder.write("file.bin", &bytes);
    let files = Files::start(&folder.root(), TIGHT).expect("the root is there");
    let mut asker = Asker::new(&files);
    let opened = asker.open("/file.bin").expect("there");
    let rest = opened.rest.expect("chunks");
    let mut held = VecDeque::from([opened.first]);
    held.extend((1..4).map(|index| asker.read(rest, index).expect("a block is free")));
    for index in 4..10 {
        asker.lane.ask(Question::Read { ticket: index, file: rest, index });
    }
    // An opening that needs no large block overtakes them: the file thread is not stuck.
    folder.write("small.txt", b"small");
    assert_eq!(asker.open("/small.txt").expect("there").first, "small");
    for index in 4..10 {
        held.pop_front();
        let Answer::Chunk { index: same, result: Some(chunk), .. } = asker.answer() else {
            panic!("a chunk")
        };
        let start = usize::try_from(index).expect("small") * CHUNK_BYTES;
        assert!(same == index && chunk == bytes[start..start + CHUNK_BYTES]);
        held.push_back(chunk);
    }
}

#[test]
fn descriptors_are_shared_and_closed() {
    // Shows that two downloads of one version share a key, and that the last close ends it.
    let folder = Folder::new();
    folder.write("file.bin", &pattern(2 * CHUNK_BYTES, 3));
    let files = Files::start(&folder.root(), TIGHT).expect("the root is there");
    let mut asker = Asker::new(&files);
    let keys = [asker.open("/file.bin"), asker.open("/file.bin")].map(|opened| opened.expect("there").rest);
    assert_eq!(keys[0], keys[1]);
    let key = keys[0].expect("chunks");
    asker.lane.ask(Question::Close { file: key });
    assert!(asker.read(key, 1).is_some());
    asker.lane.ask(Question::Close { file: key });
    asker.lane.ask(Question::Close { file: key });
    assert!(asker.read(key, 1).is_none());
    drop(asker);
    files.join();
}

#[test]
fn a_file_just_written_is_served_and_not_believed_for_long() {
    // Shows that a file that changes now comes with its bytes once it has settled.
    let folder = Folder::new();
    let path = folder.root().join("now.txt");
    let files = Files::start(&folder.root(), TIGHT).expect("the root is there");
    let mut asker = Asker::new(&files);
    for round in 0..5 {
        let text = format!("round {round}");
        fs::write(&path, &text).expect("ours");
        let opened = asker.open("/now.txt").expect("there");
        assert_eq!((&opened.first[..], opened.settled), (text.as_bytes(), true));
    }
}

#[test]
fn a_missing_root_is_an_error() {
    // Shows that starting on a folder that is not there, or is a file, fails at once.
    let folder = Folder::new();
    let file = folder.write("file", b"");
    for root in [folder.0.join("none"), file] {
        assert!(Files::start(&root, TIGHT).is_err());
    }
}
