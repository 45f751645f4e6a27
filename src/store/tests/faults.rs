//! A disk in memory that can lose power at every call, and refuses what it is told to refuse.
//!
//! What was not synced is there or not after a crash, sector by sector and name by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::store::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

/// A small random number generator: the same numbers for the same seed.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("small")
    }

    pub(super) fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

/// Kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    CreateDir,
    Create,
    Rename,
    Remove,
    SyncDir,
    Write,
    Sync,
    Allocate,
}

/// When the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// The call has no effect.
    Before,
    /// It has, but nobody is told.
    After,
}

type Number = usize;

#[derive(Debug, Default)]
struct Inode {
    now: Vec<u8>,
    /// On the disk for certain.
    synced: Vec<u8>,
    dirty: BTreeSet<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Dir(Number),
    File(Number),
}

type Dir = BTreeMap<String, Name>;

#[derive(Clone, Debug)]
enum Change {
    Link(Number, String, Name),
    Unlink(Number, String),
    Rename((Number, String), (Number, String), Name),
}

impl Change {
    fn touches(&self, dir: Number) -> bool {
        match self {
            Self::Link(at, ..) | Self::Unlink(at, _) => *at == dir,
            Self::Rename(from, to, _) => from.0 == dir || to.0 == dir,
        }
    }

    fn apply(&self, dirs: &mut [Dir]) {
        match self {
            Self::Link(dir, name, what) => {
                dirs[*dir].insert(name.clone(), what.clone());
            }
            Self::Unlink(dir, name) => {
                dirs[*dir].remove(name);
            }
            Self::Rename(from, to, what) => {
                if dirs[from.0].get(&from.1) == Some(what) {
                    dirs[from.0].remove(&from.1);
                }
                dirs[to.0].insert(to.1.clone(), what.clone());
            }
        }
    }
}

#[derive(Debug)]
struct Inner {
    files: Vec<Inode>,
    dirs: Vec<Dir>,
    synced_dirs: Vec<Dir>,
    pending: Vec<Change>,
    locked: BTreeSet<Number>,
    /// Handles of an earlier life are of no use.
    life: u64,
    steps: Vec<Call>,
    crash_at: Option<(usize, When)>,
    dead: bool,
    refuse: Vec<(Call, io::ErrorKind)>,
    read_most: usize,
    /// Syncs wait.
    held: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct FaultDisk(Arc<Mutex<Inner>>);

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

impl FaultDisk {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Inner {
            files: Vec::new(),
            dirs: vec![Dir::new()],
            synced_dirs: vec![Dir::new()],
            pending: Vec::new(),
            locked: BTreeSet::new(),
            life: 0,
            steps: Vec::new(),
            crash_at: None,
            dead: false,
            refuse: Vec::new(),
            read_most: usize::MAX,
            held: false,
        })))
    }

    /// The calls so far.
    pub(super) fn steps(&self) -> Vec<Call> {
        self.0.lock().steps.clone()
    }

    /// The power fails at the call with this number.
    pub(super) fn crash_at(&self, step: usize, when: When) {
        self.0.lock().crash_at = Some((step, when));
    }

    pub(super) fn is_dead(&self) -> bool {
        self.0.lock().dead
    }

    /// From now on nothing works.
    pub(super) fn kill(&self) {
        self.0.lock().dead = true;
    }

    /// All calls of this kind are refused, until [`FaultDisk::allow`].
    pub(super) fn refuse(&self, call: Call, kind: io::ErrorKind) {
        self.0.lock().refuse.push((call, kind));
    }

    /// Whether syncs wait.
    pub(super) fn hold(&self, held: bool) {
        self.0.lock().held = held;
    }

    /// Reads give no more bytes than that.
    pub(super) fn read_at_most(&self, bytes: usize) {
        self.0.lock().read_most = bytes;
    }

    pub(super) fn allow(&self) {
        let mut inner = self.0.lock();
        inner.refuse.clear();
    }

    /// The broker was killed, and the machine was not: everything that was written is there.
    pub(super) fn revive(&self) {
        let mut inner = self.0.lock();
        inner.dead = false;
        inner.crash_at = None;
        inner.life += 1;
        inner.locked.clear();
        inner.steps.clear();
    }

    /// The power failed and is back.
    pub(super) fn crash(&self, seed: u64) {
        self.0.lock().lose(&mut Rng::new(seed));
        self.revive();
    }

    /// The content of a file.
    pub(super) fn content(&self, path: &Path) -> Vec<u8> {
        let inner = self.0.lock();
        let number = inner.file(path).expect("a file");
        inner.files[number].now.clone()
    }

    /// Changes a file behind everybody's back.
    pub(super) fn change(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = self.0.lock();
        let number = inner.file(path).expect("a file");
        let file = &mut inner.files[number];
        change(&mut file.now);
        file.synced.clone_from(&file.now);
        file.dirty.clear();
    }

    /// All files, with what is in them.
    pub(super) fn all_files(&self) -> BTreeMap<String, Vec<u8>> {
        let inner = self.0.lock();
        let mut files = BTreeMap::new();
        let mut dirs = vec![(String::new(), 0)];
        while let Some((at, dir)) = dirs.pop() {
            for (name, what) in &inner.dirs[dir] {
                let path = format!("{at}/{name}");
                match what {
                    Name::Dir(dir) => dirs.push((path, *dir)),
                    Name::File(file) => {
                        files.insert(path, inner.files[*file].now.clone());
                    }
                }
            }
        }
        files
    }

    /// A disk with these files, all of them synced.
    pub(super) fn with(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let disk = Self::new();
        for (path, content) in files {
            let path = Path::new(path);
            disk.create_dir(path.parent().expect("a directory"))
                .expect("made");
            disk.create(path).expect("made");
            disk.change(path, |now| now.clone_from(content));
        }
        let mut inner = disk.0.lock();
        inner.synced_dirs = inner.dirs.clone();
        inner.pending.clear();
        inner.steps.clear();
        drop(inner);
        disk
    }

    fn step<T>(&self, call: Call, act: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.0.lock();
        if inner.dead {
            return Err(power_is_off());
        }
        let number = inner.steps.len();
        inner.steps.push(call);
        let crash = inner
            .crash_at
            .filter(|(at, _)| *at == number)
            .map(|(_, when)| when);
        if crash == Some(When::Before) {
            inner.dead = true;
            return Err(power_is_off());
        }
        let refused = inner.refuse.iter().find(|(kind, _)| *kind == call);
        if let Some((_, kind)) = refused {
            return Err((*kind).into());
        }
        let done = act(&mut inner);
        if crash == Some(When::After) {
            inner.dead = true;
            return Err(power_is_off());
        }
        done
    }
}

impl Inner {
    fn dir(&self, path: &Path) -> io::Result<Number> {
        let mut at = 0;
        for part in path.components() {
            let Component::Normal(name) = part else {
                continue;
            };
            match self.dirs[at].get(&*name.to_string_lossy()) {
                Some(Name::Dir(dir)) => at = *dir,
                _ => return Err(io::ErrorKind::NotFound.into()),
            }
        }
        Ok(at)
    }

    fn place(&self, path: &Path) -> io::Result<(Number, String)> {
        let name = path.file_name().expect("a name").to_string_lossy();
        Ok((self.dir(path.parent().expect("a directory"))?, name.into()))
    }

    fn file(&self, path: &Path) -> io::Result<Number> {
        let (dir, name) = self.place(path)?;
        match self.dirs[dir].get(&name) {
            Some(Name::File(file)) => Ok(*file),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.dirs);
        self.pending.push(change);
    }

    fn lose(&mut self, rng: &mut Rng) {
        // All, none, those up to one, or any of the names.
        let mode = rng.below(4);
        let up_to = rng.below(self.pending.len() + 1);
        for (number, change) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            let kept = match mode {
                0 => true,
                1 => false,
                2 => number < up_to,
                _ => rng.one_in(2),
            };
            if kept {
                change.apply(&mut self.synced_dirs);
            }
        }
        self.dirs = self.synced_dirs.clone();
        for file in &mut self.files {
            file.lose(rng);
        }
    }
}

impl Inode {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.now.len() < end {
            self.now.resize(end, 0);
        }
        self.now[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    fn lose(&mut self, rng: &mut Rng) {
        let mode = rng.below(4);
        if self.now.len() != self.synced.len() && (mode == 0 || rng.one_in(2)) {
            self.synced.resize(self.now.len(), 0);
        }
        let length = self.synced.len();
        for sector in std::mem::take(&mut self.dirty) {
            let from = (sector * SECTOR).min(length);
            let end = (from + SECTOR).min(length).min(self.now.len());
            let end = match mode {
                0 => end,
                1 => from,
                _ if rng.one_in(8) => from + rng.below(end.saturating_sub(from) + 1),
                _ if rng.one_in(2) => end,
                _ => from,
            };
            if from < end {
                self.synced[from..end].copy_from_slice(&self.now[from..end]);
            }
        }
        self.now = self.synced.clone();
    }
}

#[derive(Debug)]
struct Handle {
    disk: FaultDisk,
    file: Number,
    life: u64,
}

impl Handle {
    fn alive<'a>(&self, inner: &'a mut Inner) -> io::Result<&'a mut Inode> {
        if self.life != inner.life || inner.dead {
            return Err(power_is_off());
        }
        Ok(&mut inner.files[self.file])
    }

    fn step<T>(&self, call: Call, act: impl FnOnce(&mut Inode) -> T) -> io::Result<T> {
        if self.disk.0.lock().life != self.life {
            return Err(power_is_off());
        }
        self.disk.step(call, |inner| self.alive(inner).map(act))
    }
}

impl DiskFile for Handle {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut inner = self.disk.0.lock();
        let most = inner.read_most;
        let file = self.alive(&mut inner)?;
        let from = usize::try_from(offset).expect("small");
        let rest = file.now.get(from..).unwrap_or_default();
        let count = rest.len().min(into.len()).min(most);
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("small");
        self.step(Call::Write, |file| file.write(bytes, offset))
    }

    fn sync(&self) -> io::Result<()> {
        while self.disk.0.lock().held {
            std::thread::yield_now();
        }
        self.step(Call::Sync, |file| {
            file.synced.clone_from(&file.now);
            file.dirty.clear();
        })
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).expect("small");
        self.step(Call::Allocate, |file| {
            let length = file.now.len().max(bytes);
            file.now.resize(length, 0);
        })
    }

    fn len(&self) -> io::Result<u64> {
        let mut inner = self.disk.0.lock();
        self.alive(&mut inner).map(|file| file.now.len() as u64)
    }
}

#[derive(Debug)]
struct Lock {
    disk: FaultDisk,
    file: Number,
    life: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut inner = self.disk.0.lock();
        if inner.life == self.life {
            inner.locked.remove(&self.file);
        }
    }
}

impl Disk for FaultDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if self.0.lock().dir(path).is_ok() {
            return Ok(());
        }
        self.step(Call::CreateDir, |inner| {
            let mut at = 0;
            for part in path.components() {
                let Component::Normal(name) = part else {
                    continue;
                };
                let name = name.to_string_lossy().into_owned();
                if let Some(Name::Dir(dir)) = inner.dirs[at].get(&name) {
                    at = *dir;
                    continue;
                }
                let new = inner.dirs.len();
                inner.dirs.push(Dir::new());
                inner.synced_dirs.push(Dir::new());
                // By its contract the name is on the disk.
                let link = Change::Link(at, name, Name::Dir(new));
                link.apply(&mut inner.dirs);
                link.apply(&mut inner.synced_dirs);
                at = new;
            }
            Ok(())
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let inner = self.0.lock();
        let dir = inner.dir(path)?;
        Ok(inner.dirs[dir].keys().cloned().collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let (file, life) = self.step(Call::Create, |inner| {
            let (dir, name) = inner.place(path)?;
            if inner.dirs[dir].contains_key(&name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let file = inner.files.len();
            inner.files.push(Inode::default());
            inner.change(Change::Link(dir, name, Name::File(file)));
            Ok((file, inner.life))
        })?;
        let disk = self.clone();
        Ok(Arc::new(Handle { disk, file, life }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.0.lock();
        if inner.dead {
            return Err(power_is_off());
        }
        let file = inner.file(path)?;
        let (life, disk) = (inner.life, self.clone());
        Ok(Arc::new(Handle { disk, file, life }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Call::Rename, |inner| {
            let (from, to) = (inner.place(from)?, inner.place(to)?);
            let what = inner.dirs[from.0].get(&from.1).cloned();
            let what = what.ok_or(io::ErrorKind::NotFound)?;
            inner.change(Change::Rename(from, to, what));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if matches!(self.0.lock().file(path), Err(error) if error.kind() == io::ErrorKind::NotFound)
        {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.step(Call::Remove, |inner| {
            let (dir, name) = inner.place(path)?;
            inner.change(Change::Unlink(dir, name));
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step(Call::SyncDir, |inner| {
            let dir = inner.dir(path)?;
            for change in std::mem::take(&mut inner.pending) {
                if change.touches(dir) {
                    change.apply(&mut inner.synced_dirs);
                } else {
                    inner.pending.push(change);
                }
            }
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Debug + Send + Sync>>> {
        let known = self.0.lock().file(path);
        let file = match known {
            Ok(file) => file,
            Err(_) => {
                self.create(path)?;
                self.0.lock().file(path)?
            }
        };
        let mut inner = self.0.lock();
        if inner.dead {
            return Err(power_is_off());
        }
        if !inner.locked.insert(file) {
            return Ok(None);
        }
        let (life, disk) = (inner.life, self.clone());
        Ok(Some(Box::new(Lock { disk, file, life })))
    }
}
