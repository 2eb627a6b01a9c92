//! A disk under SQLite that remembers what was synced, loses the rest when its power is cut, and fails calls on demand.
//!
//! It stands between SQLite and the real files of one folder; files elsewhere are left to SQLite's own VFS.
//! The real files are what a running process sees. Beside them each file has a durable image: what was there at its last
//! sync, and the writes since then. A cut of power makes the real files of the durable image and any part of those writes.
//! A name is durable when its folder was synced, which SQLite does with the first sync of a new log or journal.
//! The journal's segments stand on the same disk: their operations come through `journal::disk`.

#![expect(unsafe_code, reason = "a VFS of SQLite is a table of C functions")]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};

use lifeline_gateway::journal::disk::{Operation, put_below};
use rusqlite::ffi;

use crate::crash::Dice;

/// What a sector's write leaves behind is whole at this grain, in bytes.
const GRAIN: usize = 512;

/// What goes wrong with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The power is cut before it: it and everything after it never happens.
    PowerCut,
    /// No room: a write leaves its first half.
    Full,
    /// The call fails: a write leaves its first half, a failed sync drops what it should have made durable, as Linux does.
    Failure,
    /// The call hangs until [`Disk::go_on`].
    Stall,
}

/// Which operations a fault meets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) fault: Fault,
    /// The operation's number, from 0.
    pub(crate) at: u64,
    /// From there on for ever, or once.
    pub(crate) for_ever: bool,
}

/// What is left of the writes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    All,
    /// Any grains of them, and any changes of names.
    Some(u64),
    /// The length of all of them, but zeros instead of their content.
    Zeros,
}

enum Pending {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

/// What a name stands for.
#[derive(Default)]
struct Node {
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Default)]
struct State {
    nodes: Vec<Node>,
    /// Names as a running process sees them, and as they are after a cut.
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    operations: u64,
    plan: Option<Plan>,
    met: u64,
    dead: bool,
}

/// The disk of one folder.
pub(crate) struct Disk {
    folder: PathBuf,
    state: Mutex<State>,
    /// Stalled calls wait here for the end of the plan.
    going: Condvar,
}

static DISKS: Mutex<Vec<Arc<Disk>>> = Mutex::new(Vec::new());

impl Disk {
    /// Puts a disk under the database files in `folder`, which holds none yet.
    pub(crate) fn under(folder: &Path) -> Arc<Self> {
        register();
        put_below(below);
        let disk = Arc::new(Self {
            folder: folder.canonicalize().unwrap(),
            state: Mutex::default(),
            going: Condvar::new(),
        });
        DISKS.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&disk));
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts operations from 0 again, with this plan for them.
    pub(crate) fn plan(&self, plan: Option<Plan>) {
        let mut state = self.state();
        (state.operations, state.plan, state.met) = (0, plan, 0);
    }

    /// Lets a stalled call go on.
    pub(crate) fn go_on(&self) {
        self.plan(None);
        self.going.notify_all();
    }

    /// Counts an operation and lets it stall; what else goes wrong with it.
    fn meet(&self) -> (MutexGuard<'_, State>, Option<Fault>) {
        let mut state = self.state();
        let fault = state.meet();
        if fault != Some(Fault::Stall) {
            return (state, fault);
        }
        while state.plan.is_some() {
            state = self.going.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        (state, None)
    }

    /// Operations since the last plan.
    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Operations that met the fault of the plan.
    pub(crate) fn met(&self) -> u64 {
        self.state().met
    }

    /// The power comes back after a cut: what was durable, and `left` of the rest. All connections are closed by now.
    pub(crate) fn restart(&self, left: Left) {
        let mut state = self.state();
        let mut dice = Dice(if let Left::Some(seed) = left { seed } else { 0 });
        let contents: Vec<Vec<u8>> =
            state.nodes.iter_mut().map(|node| node.after_cut(left, &mut dice)).collect();
        let mut all: Vec<String> = state.names.keys().chain(state.durable_names.keys()).cloned().collect();
        all.sort();
        all.dedup();
        let mut names = BTreeMap::new();
        for name in all {
            let keep_change = match left {
                Left::Nothing => false,
                Left::All | Left::Zeros => true,
                Left::Some(_) => dice.roll(2) == 0,
            };
            let node = if keep_change { state.names.get(&name) } else { state.durable_names.get(&name) };
            match node {
                Some(&node) => {
                    std::fs::write(self.folder.join(&name), &contents[node]).unwrap();
                    names.insert(name, node);
                }
                None => drop(std::fs::remove_file(self.folder.join(&name))),
            }
        }
        for (node, content) in state.nodes.iter_mut().zip(contents) {
            *node = Node { durable: content, pending: Vec::new() };
        }
        // The index of the write-ahead log is memory; a restart finds none.
        let _ = std::fs::remove_file(self.folder.join("journal.db-shm"));
        *state = State {
            nodes: std::mem::take(&mut state.nodes),
            durable_names: names.clone(),
            names,
            ..State::default()
        };
    }
}

/// What a segment asks, of the disk that its folder is on.
fn below(operation: Operation<'_>) -> std::io::Result<()> {
    let path = match operation {
        Operation::Create(path)
        | Operation::Write(path, ..)
        | Operation::Sync(path)
        | Operation::SyncFolder(path)
        | Operation::Rename(path, _)
        | Operation::Remove(path) => path,
    };
    let disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(disk) = disks.iter().find(|disk| path.starts_with(&disk.folder)).cloned() else { return Ok(()) };
    drop(disks);
    let name = |path: &Path| path.strip_prefix(&disk.folder).unwrap().to_string_lossy().into_owned();
    let (mut state, fault) = disk.meet();
    state.segment(operation, fault, &name)
}

/// Takes the disk of `folder` away again.
pub(crate) fn forget(disk: &Arc<Disk>) {
    DISKS.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| !Arc::ptr_eq(other, disk));
}

impl Node {
    fn after_cut(&mut self, left: Left, dice: &mut Dice) -> Vec<u8> {
        let mut content = std::mem::take(&mut self.durable);
        for change in self.pending.drain(..) {
            match (change, left) {
                (_, Left::Nothing) => {}
                (Pending::Truncate(length), Left::Some(_)) if dice.roll(2) == 0 => content.truncate(length),
                (Pending::Truncate(_), Left::Some(_)) => {}
                (Pending::Truncate(length), Left::All | Left::Zeros) => content.truncate(length),
                (Pending::Write(at, bytes), Left::All) => put(&mut content, at, &bytes),
                (Pending::Write(at, bytes), Left::Zeros) => {
                    let end = at + bytes.len();
                    if end > content.len() {
                        content.resize(end, 0);
                    }
                }
                (Pending::Write(at, bytes), Left::Some(_)) => {
                    let mut from = 0;
                    while from < bytes.len() {
                        let to = bytes.len().min(from + GRAIN - (at + from) % GRAIN);
                        if dice.roll(2) == 0 {
                            put(&mut content, at + from, &bytes[from..to]);
                        }
                        from = to;
                    }
                }
            }
        }
        content
    }

    /// Everything written so far is durable.
    fn sync(&mut self) {
        let mut content = std::mem::take(&mut self.durable);
        for change in self.pending.drain(..) {
            match change {
                Pending::Write(at, bytes) => put(&mut content, at, &bytes),
                Pending::Truncate(length) => content.truncate(length),
            }
        }
        self.durable = content;
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

impl State {
    /// Counts an operation; what goes wrong with it.
    fn meet(&mut self) -> Option<Fault> {
        if self.dead {
            return Some(Fault::PowerCut);
        }
        let number = self.operations;
        self.operations += 1;
        let plan = self.plan?;
        let met = number == plan.at || (plan.for_ever && number > plan.at);
        if !met {
            return None;
        }
        self.met += 1;
        self.dead = plan.fault == Fault::PowerCut;
        Some(plan.fault)
    }

    /// The names of one of the two folders are durable.
    fn names_are_durable(&mut self, segments: bool) {
        let here = |name: &String| name.starts_with("segments/") == segments;
        self.durable_names.retain(|name, _| !here(name));
        let names = self.names.iter().filter(|(name, _)| here(name));
        self.durable_names.extend(names.map(|(name, node)| (name.clone(), *node)));
    }

    /// An operation on a segment.
    fn segment(
        &mut self,
        operation: Operation<'_>,
        fault: Option<Fault>,
        name: &dyn Fn(&Path) -> String,
    ) -> std::io::Result<()> {
        let error = || match fault {
            Some(Fault::Full) => std::io::ErrorKind::StorageFull.into(),
            _ => std::io::Error::from_raw_os_error(5),
        };
        match operation {
            Operation::Write(path, at, bytes) if fault != Some(Fault::PowerCut) => {
                let done = if fault.is_some() { &bytes[..bytes.len() / 2] } else { bytes };
                let at = usize::try_from(at).unwrap();
                if let Some(node) = self.names.get(&name(path)) {
                    self.nodes[*node].pending.push(Pending::Write(at, done.to_vec()));
                }
                if fault.is_some() {
                    let file = std::fs::OpenOptions::new().write(true).open(path)?;
                    std::os::unix::fs::FileExt::write_all_at(&file, done, at as u64)?;
                }
            }
            Operation::Sync(path) if fault != Some(Fault::PowerCut) => {
                if let Some(node) = self.names.get(&name(path)) {
                    let node = &mut self.nodes[*node];
                    if fault.is_some() { node.pending.clear() } else { node.sync() }
                }
            }
            _ if fault.is_some() => {}
            Operation::Create(path) => {
                self.nodes.push(Node::default());
                self.names.insert(name(path), self.nodes.len() - 1);
            }
            Operation::SyncFolder(path) => self.names_are_durable(path.ends_with("segments")),
            Operation::Rename(from, to) => {
                if let Some(node) = self.names.remove(&name(from)) {
                    self.names.insert(name(to), node);
                }
            }
            Operation::Remove(path) => drop(self.names.remove(&name(path))),
            Operation::Write(..) | Operation::Sync(_) => {}
        }
        if fault.is_some() { Err(error()) } else { Ok(()) }
    }
}

/// Our file object; SQLite's own stands right behind it.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    real: *mut ffi::sqlite3_file,
    disk: *const Disk,
    node: usize,
    /// The folder is synced with the first sync.
    syncs_folder: bool,
}

fn real_vfs() -> *mut ffi::sqlite3_vfs {
    // SAFETY: the name is a C string; SQLite's own VFS is never taken away.
    unsafe { ffi::sqlite3_vfs_find(c"unix".as_ptr()) }
}

/// Puts our VFS in front of SQLite's, once for the process.
fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the table lives as long as the process; all functions that it does not replace are SQLite's own.
        unsafe {
            ffi::sqlite3_initialize();
            let mut vfs = ptr::read(real_vfs());
            vfs.szOsFile += c_int::try_from(size_of::<File>()).unwrap();
            vfs.zName = c"cut".as_ptr();
            vfs.pNext = ptr::null_mut();
            vfs.xOpen = Some(open);
            vfs.xDelete = Some(delete);
            let code = ffi::sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 1);
            assert_eq!(code, ffi::SQLITE_OK);
        }
    });
}

/// The disk that holds this path, and the name on it.
unsafe fn on_disk(path: *const c_char) -> Option<(Arc<Disk>, String)> {
    if path.is_null() {
        return None;
    }
    // SAFETY: SQLite hands over C strings.
    let path = unsafe { CStr::from_ptr(path) }.to_str().ok()?;
    let (folder, name) = path.rsplit_once('/')?;
    let disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
    let disk = disks.iter().find(|disk| disk.folder.to_str() == Some(folder))?;
    Some((Arc::clone(disk), name.to_owned()))
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    path: ffi::sqlite3_filename,
    out: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives room for `szOsFile` bytes at `out`; ours come first, those of its own VFS behind them.
    unsafe {
        let open = (*real_vfs()).xOpen.expect("SQLite's own VFS opens files");
        let Some((disk, name)) = on_disk(path) else {
            return open(real_vfs(), path, out, flags, out_flags);
        };
        (*out).pMethods = ptr::null();
        let mut state = disk.state();
        let new = !state.names.contains_key(&name);
        if new && flags & ffi::SQLITE_OPEN_CREATE != 0 && state.meet().is_some() {
            return ffi::SQLITE_CANTOPEN;
        }
        let real = out.cast::<u8>().add(size_of::<File>()).cast::<ffi::sqlite3_file>();
        let code = open(real_vfs(), path, real, flags, out_flags);
        if code != ffi::SQLITE_OK {
            return code;
        }
        if new {
            state.nodes.push(Node::default());
            let node = state.nodes.len() - 1;
            state.names.insert(name.clone(), node);
        }
        let node = state.names[&name];
        drop(state);
        // SQLite's own VFS does so for every log that it may have made, whether it was there or not.
        let syncs_folder = flags & ffi::SQLITE_OPEN_CREATE != 0
            && flags & (ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL) != 0;
        let base = ffi::sqlite3_file { pMethods: &raw const METHODS };
        let file = File { base, real, disk: Arc::into_raw(disk), node, syncs_folder };
        ptr::write(out.cast::<File>(), file);
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, path: *const c_char, sync_folder: c_int) -> c_int {
    // SAFETY: SQLite hands over a C string; its own VFS does the work.
    unsafe {
        let delete = (*real_vfs()).xDelete.expect("SQLite's own VFS deletes files");
        let Some((disk, name)) = on_disk(path) else { return delete(real_vfs(), path, sync_folder) };
        let mut state = disk.state();
        if state.meet().is_some() {
            return ffi::SQLITE_IOERR_DELETE;
        }
        let code = delete(real_vfs(), path, 0);
        if code == ffi::SQLITE_OK {
            state.names.remove(&name);
            if sync_folder != 0 {
                state.names_are_durable(false);
            }
        }
        code
    }
}

unsafe fn ours<'a>(file: *mut ffi::sqlite3_file) -> (&'a mut File, &'a ffi::sqlite3_io_methods) {
    // SAFETY: every file with our methods was made by `open`, and its real file is open.
    unsafe {
        let file = &mut *file.cast::<File>();
        let methods = &*(*file.real).pMethods;
        (file, methods)
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once; the disk's count is given back here.
    unsafe {
        let (file, methods) = ours(file);
        drop(Arc::from_raw(file.disk));
        methods.xClose.expect("a method of version 1")(file.real)
    }
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, out: *mut c_void, count: c_int, at: i64) -> c_int {
    // SAFETY: passed on as it came.
    unsafe {
        let (file, methods) = ours(file);
        methods.xRead.expect("a method of version 1")(file.real, out, count, at)
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    count: c_int,
    at: i64,
) -> c_int {
    // SAFETY: SQLite hands over `count` bytes.
    unsafe {
        let (file, methods) = ours(file);
        let write = methods.xWrite.expect("a method of version 1");
        let (mut state, fault) = (*file.disk).meet();
        let all = usize::try_from(count).unwrap();
        let done = match fault {
            None => all,
            Some(Fault::PowerCut) => return ffi::SQLITE_IOERR_WRITE,
            Some(_) => all / 2,
        };
        let code = write(file.real, bytes, c_int::try_from(done).unwrap(), at);
        let content = std::slice::from_raw_parts(bytes.cast::<u8>(), done).to_vec();
        state.nodes[file.node].pending.push(Pending::Write(usize::try_from(at).unwrap(), content));
        match fault {
            Some(Fault::Full) => ffi::SQLITE_FULL,
            Some(_) => ffi::SQLITE_IOERR_WRITE,
            None => code,
        }
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    // SAFETY: passed on as it came.
    unsafe {
        let (file, methods) = ours(file);
        let mut state = (*file.disk).state();
        if state.meet().is_some() {
            return ffi::SQLITE_IOERR_TRUNCATE;
        }
        state.nodes[file.node].pending.push(Pending::Truncate(usize::try_from(length).unwrap()));
        methods.xTruncate.expect("a method of version 1")(file.real, length)
    }
}

/// Never reaches the real disk: the durable image is what counts.
unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: the file is ours.
    unsafe {
        let (file, _) = ours(file);
        let mut state = (*file.disk).state();
        match state.meet() {
            None => {
                state.nodes[file.node].sync();
                if std::mem::take(&mut file.syncs_folder) {
                    state.names_are_durable(false);
                }
                ffi::SQLITE_OK
            }
            Some(Fault::PowerCut) => ffi::SQLITE_IOERR_FSYNC,
            Some(_) => {
                state.nodes[file.node].pending.clear();
                ffi::SQLITE_IOERR_FSYNC
            }
        }
    }
}

macro_rules! passed_on {
    ($name:ident, $method:ident, $result:ty $(, $arg:ident: $kind:ty)*) => {
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $arg: $kind)*) -> $result {
            // SAFETY: passed on as it came.
            unsafe {
                let (file, methods) = ours(file);
                methods.$method.expect("SQLite's own VFS has it")(file.real $(, $arg)*)
            }
        }
    };
}

passed_on!(file_size, xFileSize, c_int, out: *mut i64);
passed_on!(lock, xLock, c_int, level: c_int);
passed_on!(unlock, xUnlock, c_int, level: c_int);
passed_on!(check_reserved, xCheckReservedLock, c_int, out: *mut c_int);
passed_on!(control, xFileControl, c_int, what: c_int, arg: *mut c_void);
passed_on!(sector_size, xSectorSize, c_int);
passed_on!(characteristics, xDeviceCharacteristics, c_int);
passed_on!(shm_map, xShmMap, c_int, page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void);
passed_on!(shm_lock, xShmLock, c_int, offset: c_int, count: c_int, flags: c_int);
passed_on!(shm_barrier, xShmBarrier, ());
passed_on!(shm_unmap, xShmUnmap, c_int, delete: c_int);

/// Version 2: with an index of the write-ahead log, without mapped files.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
