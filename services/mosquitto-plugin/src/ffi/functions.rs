//! Functions of the broker and of the libraries that it has loaded, looked up by their names.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_uchar, c_void},
    ptr::null_mut,
};

use signet_client::MESSAGE_HEADERS as HEADERS;

use crate::journal::Line;

/// `MQTT_PROP_USER_PROPERTY`.
const USER_PROPERTY: c_int = 38;
/// User properties of a message that are looked at.
const MOST_PROPERTIES: usize = 64;
/// `RTLD_NOW`.
const NOW: c_int = 2;

unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
    fn free(allocated: *mut c_void);
}

/// Of an event.
pub(super) type Callback = unsafe extern "C" fn(c_int, *mut c_void, *mut c_void) -> c_int;

type Register = unsafe extern "C" fn(*mut c_void, c_int, Callback, *const c_void, *mut c_void) -> c_int;
pub(super) type TextOf = unsafe extern "C" fn(*const c_void) -> *const c_char;
type NumberOf = unsafe extern "C" fn(*const c_void) -> c_int;
type CertificateOf = unsafe extern "C" fn(*const c_void) -> *mut c_void;
type SetUsername = unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int;
type Kick = unsafe extern "C" fn(*const c_char, bool) -> c_int;
type Log = unsafe extern "C" fn(c_int, *const c_char, ...);
type ToDer = unsafe extern "C" fn(*const c_void, *mut *mut c_uchar) -> c_int;
type Free = unsafe extern "C" fn(*mut c_void);
type ReadPair = unsafe extern "C" fn(*const c_void, c_int, *mut *mut c_char, *mut *mut c_char, bool) -> *const c_void;

/// Functions of the broker, and of the OpenSSL that it has loaded.
#[derive(Clone, Copy)]
pub(super) struct Functions {
    pub(super) register: Register,
    pub(super) address: TextOf,
    pub(super) client_id: TextOf,
    pub(super) username: TextOf,
    pub(super) protocol: NumberOf,
    pub(super) protocol_version: NumberOf,
    pub(super) certificate: CertificateOf,
    pub(super) set_username: SetUsername,
    pub(super) kick: Kick,
    pub(super) log: Log,
    pub(super) i2d_x509: ToDer,
    pub(super) x509_free: Free,
}

/// Reads properties of MQTT 5.
#[derive(Clone, Copy)]
pub(super) struct Properties {
    read_pair: ReadPair,
    /// For what it has allocated.
    free: Free,
}

/// A function by its name: of the process, or of a library.
macro_rules! function {
    ($name:literal as $type:ty) => {
        // 0 is RTLD_DEFAULT: what the program and its libraries have.
        function!($name as $type, null_mut())
    };
    ($name:literal as $type:ty, $library:expr) => {{
        // SAFETY: the name ends with NUL, and the library is one that is open.
        let found = unsafe { dlsym($library, $name.as_ptr()) };
        if found.is_null() {
            return None;
        }
        // SAFETY: it is a function, of the type that its header has for this name.
        unsafe { std::mem::transmute::<*mut c_void, $type>(found) }
    }};
}

impl Functions {
    /// `None`: one is missing.
    pub(super) fn look_up() -> Option<Self> {
        Some(Self {
            register: function!(c"mosquitto_callback_register" as Register),
            address: function!(c"mosquitto_client_address" as TextOf),
            client_id: function!(c"mosquitto_client_id" as TextOf),
            username: function!(c"mosquitto_client_username" as TextOf),
            protocol: function!(c"mosquitto_client_protocol" as NumberOf),
            protocol_version: function!(c"mosquitto_client_protocol_version" as NumberOf),
            certificate: function!(c"mosquitto_client_certificate" as CertificateOf),
            set_username: function!(c"mosquitto_set_username" as SetUsername),
            kick: function!(c"mosquitto_kick_client_by_clientid" as Kick),
            log: function!(c"mosquitto_log_printf" as Log),
            i2d_x509: function!(c"i2d_X509" as ToDer),
            x509_free: function!(c"X509_free" as Free),
        })
    }

    pub(super) fn log(&self, lines: Vec<Line>) {
        for (weight, line) in lines {
            let line = line.replace('\0', " ");
            let Ok(line) = CString::new(format!("signet: {line}")) else { continue };
            // SAFETY: both end with NUL, and the format takes one text.
            unsafe { (self.log)(weight as c_int, c"%s".as_ptr(), line.as_ptr()) };
        }
    }
}

impl Properties {
    /// The broker's own, which 2.0 keeps to itself: then those of the client library of the same release, on which
    /// Debian's broker depends. `None`: there are none.
    pub(super) fn look_up() -> Option<Self> {
        Self::of_broker().or_else(|| {
            // SAFETY: the name ends with NUL. It stays open.
            let library = unsafe { dlopen(c"libmosquitto.so.1".as_ptr(), NOW) };
            if library.is_null() {
                return None;
            }
            let read_pair = function!(c"mosquitto_property_read_string_pair" as ReadPair, library);
            Some(Self { read_pair, free })
        })
    }

    fn of_broker() -> Option<Self> {
        let read_pair = function!(c"mosquitto_property_read_string_pair" as ReadPair);
        Some(Self { read_pair, free: function!(c"mosquitto_free" as Free) })
    }

    /// User properties by which a message is signed, with their places among [`HEADERS`].
    ///
    /// # Safety
    /// `properties` is the broker's list, or NULL.
    pub(super) unsafe fn signature(&self, properties: *const c_void) -> Vec<(usize, Vec<u8>)> {
        let mut found = Vec::new();
        let mut at = properties;
        for number in 0..MOST_PROPERTIES {
            if at.is_null() {
                break;
            }
            let (mut name, mut value) = (null_mut(), null_mut());
            // SAFETY: the caller's promise, or a place in that list as the function returned it.
            at = unsafe { (self.read_pair)(at, USER_PROPERTY, &raw mut name, &raw mut value, number > 0) };
            // SAFETY: each is NULL, in 2.1 for an empty one, or ends with NUL and is ours.
            let texts = [name, value].map(|text| unsafe { bytes(text) });
            if let Some(header) = HEADERS.iter().position(|header| texts[0] == header.as_bytes()) {
                found.push((header, texts[1].to_vec()));
            }
            // SAFETY: neither is used after this, and NULL may be freed.
            [name, value].into_iter().for_each(|text| unsafe { (self.free)(text.cast()) });
        }
        found
    }
}

/// # Safety
/// `text` is NULL, or ends with NUL and is not freed before what is returned was used.
unsafe fn bytes<'a>(text: *const c_char) -> &'a [u8] {
    // SAFETY: the caller's promise.
    if text.is_null() { &[] } else { unsafe { CStr::from_ptr(text) }.to_bytes() }
}
