//! All that touches C: the three functions that the broker calls, those of its own that we call, and its structures, as
//! `mosquitto_plugin.h` and `mosquitto_broker.h` of 2.0.11 have them and `mosquitto/broker.h` of 2.1 has them still.
//!
//! The broker calls from one thread only. No panic leaves this file: what panics is refused. Functions are looked up
//! when the plugin is loaded, so that nothing needs a broker but a broker, and one that lacks some does not start.

#![expect(unsafe_code, reason = "the broker is a C program: it hands us pointers, and takes some")]

mod functions;

use std::{
    cell::RefCell,
    ffi::{CStr, c_char, c_int, c_long, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    ptr::{null, null_mut},
    time::{Duration, Instant},
};

use functions::{Functions, Properties, TextOf};
use signet_client::MessageRefusal;

use crate::{
    config::Config,
    follow::Follower,
    journal::{OtherLines, Weight},
    plugin::{Access, Check, Connect, MAX_CERTIFICATE, Message, Plugin},
};

/// The plugin interface that we speak (`MOSQ_PLUGIN_VERSION`).
const INTERFACE: c_int = 5;
/// `enum mosq_err_t`.
const SUCCESS: c_int = 0;
const INVALID: c_int = 3;
const AUTH: c_int = 11;
const ACL_DENIED: c_int = 12;
/// What ends a connection.
const UNKNOWN: c_int = 13;
/// It is done, and plugins that were loaded later are asked, too.
const DEFER: c_int = 17;
/// `enum mosquitto_plugin_event`.
const RELOAD: c_int = 1;
const ACL_CHECK: c_int = 2;
const BASIC_AUTH: c_int = 3;
/// `MOSQ_EVT_MESSAGE_IN` in 2.1.
const MESSAGE: c_int = 7;
const TICK: c_int = 9;
const DISCONNECT: c_int = 10;
/// `MOSQ_ACL_*`.
const READ: c_int = 1;
const WRITE: c_int = 2;
const SUBSCRIBE: c_int = 4;
const UNSUBSCRIBE: c_int = 8;
/// `mp_websockets` of `enum mosquitto_protocol`.
const WEBSOCKETS: c_int = 2;
/// Longest that sessions are ended at once: other clients wait meanwhile.
const ENDING: Duration = Duration::from_millis(30);
/// How soon the broker is to call again, which 2.0 does anyway.
const TICK_MS: c_long = 100;

#[repr(C)]
struct BasicAuth {
    future: *mut c_void,
    client: *mut c_void,
    username: *mut c_char,
    password: *mut c_char,
    future2: [*mut c_void; 4],
}

#[repr(C)]
struct AclCheck {
    future: *mut c_void,
    client: *mut c_void,
    topic: *const c_char,
    payload: *const c_void,
    properties: *mut c_void,
    access: c_int,
    payloadlen: u32,
    qos: u8,
    retain: bool,
    future2: [*mut c_void; 4],
}

#[repr(C)]
struct Published {
    future: *mut c_void,
    client: *mut c_void,
    topic: *mut c_char,
    payload: *const c_void,
    properties: *const c_void,
    reason_string: *mut c_char,
    payloadlen: u32,
    qos: u8,
    reason_code: u8,
    retain: bool,
    future2: [*mut c_void; 4],
}

#[repr(C)]
struct Tick {
    future: *mut c_void,
    now_ns: c_long,
    /// `next_ns` in 2.0, which does not read it.
    next_ms: c_long,
    now_s: i64,
    next_s: i64,
    future2: [*mut c_void; 4],
}

#[repr(C)]
struct Disconnect {
    future: *mut c_void,
    client: *mut c_void,
    reason: c_int,
    future2: [*mut c_void; 4],
}

/// `struct mosquitto_opt`.
#[repr(C)]
pub struct PluginOption {
    key: *const c_char,
    value: *const c_char,
}

/// A client of the broker, for the time of one call.
#[derive(Clone, Copy)]
struct Client<'a> {
    functions: &'a Functions,
    pointer: *mut c_void,
}

impl<'a> Client<'a> {
    fn text(&self, of: TextOf) -> Option<&'a CStr> {
        // SAFETY: the broker's pointer to a client, which lives as long as the call that it was given to.
        let text = unsafe { of(self.pointer) };
        // SAFETY: not NULL, so it ends with NUL and lives as long as its client has that name.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
    }

    fn client_id(&self) -> Option<&'a CStr> {
        self.text(self.functions.client_id)
    }

    fn username(&self) -> Option<&'a CStr> {
        self.text(self.functions.username)
    }

    fn address(&self) -> &'a str {
        self.text(self.functions.address).and_then(|text| text.to_str().ok()).unwrap_or("an unknown address")
    }

    fn place(&self) -> usize {
        self.pointer.addr()
    }

    /// Whether it ever was connected to this broker process.
    fn has_protocol(&self) -> bool {
        // SAFETY: as in `text`.
        unsafe { (self.functions.protocol_version)(self.pointer) != 0 }
    }

    fn is_on_websocket(&self) -> bool {
        // SAFETY: as in `text`.
        unsafe { (self.functions.protocol)(self.pointer) == WEBSOCKETS }
    }

    /// DER. The broker's TLS has seen that the client has its key.
    fn certificate(&self) -> Option<Vec<u8>> {
        // SAFETY: as in `text`. What is returned is ours to free.
        let certificate = unsafe { (self.functions.certificate)(self.pointer) };
        if certificate.is_null() {
            return None;
        }
        // SAFETY: an X509; without a place to write to, only the length is returned.
        let length = unsafe { (self.functions.i2d_x509)(certificate, null_mut()) };
        // One that is too large is refused for its size.
        let length = usize::try_from(length).unwrap_or(0).min(MAX_CERTIFICATE.saturating_add(1));
        let mut der = vec![0; length];
        if length <= MAX_CERTIFICATE {
            let mut end = der.as_mut_ptr();
            // SAFETY: `der` has as many bytes as it said to need.
            unsafe { (self.functions.i2d_x509)(certificate, &raw mut end) };
        }
        // SAFETY: not used after this.
        unsafe { (self.functions.x509_free)(certificate) };
        Some(der)
    }

    fn set_username(&self, username: &CStr) -> bool {
        // SAFETY: as in `text`; the broker copies the name.
        unsafe { (self.functions.set_username)(self.pointer, username.as_ptr()) == SUCCESS }
    }
}

/// What the broker keeps for us.
struct State {
    functions: Functions,
    properties: Option<Properties>,
    /// The broker calls us while it ends a session for us: nothing may be borrowed then.
    plugin: RefCell<Plugin>,
    _follower: Follower,
}

/// Tells the broker which interface we speak.
///
/// # Safety
/// `versions` has `count` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mosquitto_plugin_version(count: c_int, versions: *const c_int) -> c_int {
    let Ok(count) = usize::try_from(count) else { return -1 };
    if versions.is_null() {
        return -1;
    }
    // SAFETY: the caller's promise.
    let versions = unsafe { std::slice::from_raw_parts(versions, count) };
    if versions.contains(&INTERFACE) { INTERFACE } else { -1 }
}

/// Starts the plugin. If it returns anything but 0, the broker does not start.
///
/// # Safety
/// As the broker calls it: `identifier` is its name for us, `userdata` a place for a pointer, `options` has `count`
/// entries.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mosquitto_plugin_init(
    identifier: *mut c_void,
    userdata: *mut *mut c_void,
    options: *const PluginOption,
    count: c_int,
) -> c_int {
    // Without one of them there may be no log either.
    let Some(functions) = Functions::look_up() else { return INVALID };
    // SAFETY: the caller's promise.
    let options = unsafe { settings(options, count) };
    let started = catch_unwind(AssertUnwindSafe(|| start(functions, &options)));
    let state = match started.unwrap_or_else(|_| Err("it panicked; see standard error".into())) {
        Ok(state) => Box::into_raw(Box::new(state)).cast::<c_void>(),
        Err(error) => {
            functions.log(vec![(Weight::Error, error)]);
            return INVALID;
        }
    };
    // SAFETY: the caller's promise. It is freed by `mosquitto_plugin_cleanup`.
    unsafe { *userdata = state };
    for event in [RELOAD, ACL_CHECK, BASIC_AUTH, MESSAGE, TICK, DISCONNECT] {
        // SAFETY: the broker's own pointer, our function, and what it is handed back.
        let registered = unsafe { (functions.register)(identifier, event, on_event, null(), state) };
        if registered != SUCCESS {
            functions.log(vec![(Weight::Error, format!("the broker does not offer event {event}"))]);
            return registered;
        }
    }
    SUCCESS
}

/// Ends the plugin.
///
/// # Safety
/// `userdata` is what [`mosquitto_plugin_init`] has set, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mosquitto_plugin_cleanup(
    userdata: *mut c_void,
    _options: *const PluginOption,
    _count: c_int,
) -> c_int {
    if !userdata.is_null() {
        // SAFETY: the caller's promise.
        let state = unsafe { Box::from_raw(userdata.cast::<State>()) };
        let _ = catch_unwind(AssertUnwindSafe(|| drop(state)));
    }
    SUCCESS
}

/// # Safety
/// `options` has `count` entries of texts that end with NUL.
unsafe fn settings(options: *const PluginOption, count: c_int) -> Vec<(String, String)> {
    let count = usize::try_from(count).unwrap_or(0);
    if options.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    let options = unsafe { std::slice::from_raw_parts(options, count) };
    let text = |text: *const c_char| {
        // SAFETY: not NULL; the caller's promise.
        if text.is_null() { String::new() } else { unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned() }
    };
    options.iter().map(|option| (text(option.key), text(option.value))).collect()
}

fn start(functions: Functions, options: &[(String, String)]) -> Result<State, String> {
    let file = match options {
        [(key, value)] if key == "config" => Path::new(value),
        _ => return Err("set plugin_opt_config, and no other option, to the plugin's file".into()),
    };
    let config = Config::load(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let other = OtherLines::default();
    let lines = tracing_subscriber::fmt().with_writer(other.clone()).with_max_level(tracing::Level::WARN);
    // A second instance of the plugin writes where the first does.
    let _ = lines.without_time().with_target(false).with_ansi(false).try_init();
    let (follower, tenants, watcher) = Follower::start(&config)?;
    let must_sign = config.tenants.iter().any(|tenant| tenant.require_signatures);
    let properties = must_sign.then(Properties::look_up).flatten();
    if must_sign && properties.is_none() {
        let line =
            "without libmosquitto.so.1 no properties of MQTT 5 are read: messages must have their signatures as lines";
        functions.log(vec![(Weight::Warning, line.into())]);
    }
    let audience = config.tokens.map(|tokens| tokens.audience);
    let plugin = RefCell::new(Plugin::new(tenants, (config.rules, audience), watcher, other));
    Ok(State { functions, properties, plugin, _follower: follower })
}

/// # Safety
/// As the broker calls it: `data` is the structure of the event, `userdata` what we registered with.
unsafe extern "C" fn on_event(event: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    let denied = if event == BASIC_AUTH { AUTH } else { ACL_DENIED };
    if data.is_null() || userdata.is_null() {
        return denied;
    }
    // SAFETY: `userdata` is our state, which only this thread uses, and shared: it is behind a `RefCell`.
    let state = unsafe { &*userdata.cast::<State>() };
    let answer = catch_unwind(AssertUnwindSafe(|| match event {
        // SAFETY: `data` is the structure of the event; so with the others.
        BASIC_AUTH => state.basic_auth(unsafe { &*data.cast::<BasicAuth>() }),
        // SAFETY: as above.
        ACL_CHECK => state.acl_check(unsafe { &*data.cast::<AclCheck>() }),
        // SAFETY: as above.
        MESSAGE => state.published(unsafe { &*data.cast::<Published>() }),
        // SAFETY: as above; it is ours to change.
        TICK => state.tick(unsafe { &mut *data.cast::<Tick>() }),
        // SAFETY: as above.
        DISCONNECT => state.disconnect(unsafe { &*data.cast::<Disconnect>() }),
        RELOAD => state.reload(),
        _ => denied,
    }));
    answer.unwrap_or(denied)
}

impl State {
    fn client(&self, pointer: *mut c_void) -> Client<'_> {
        Client { functions: &self.functions, pointer }
    }

    fn basic_auth(&self, event: &BasicAuth) -> c_int {
        let client = self.client(event.client);
        let Some(client_id) = client.client_id() else { return AUTH };
        let Ok(mut plugin) = self.plugin.try_borrow_mut() else { return AUTH };
        let (certificate, address, place) = (client.certificate(), client.address(), client.place());
        // SAFETY: not NULL, so it ends with NUL (the broker adds it) and lives as long as this call.
        let password = (!event.password.is_null()).then(|| unsafe { CStr::from_ptr(event.password) });
        let (username, is_on_websocket) = (client.username(), client.is_on_websocket());
        let connect = Connect { client_id, username, certificate, password, address, place, is_on_websocket };
        let named = plugin.connect(&connect);
        let lines = plugin.take_lines();
        drop(plugin);
        self.functions.log(lines);
        match named {
            Ok(None) => SUCCESS,
            Ok(Some(username)) if client.set_username(&username) => SUCCESS,
            Ok(Some(_)) | Err(_) => AUTH,
        }
    }

    fn acl_check(&self, event: &AclCheck) -> c_int {
        let access = match event.access {
            READ => Access::Read,
            WRITE => Access::Write,
            SUBSCRIBE => Access::Subscribe,
            UNSUBSCRIBE => return SUCCESS,
            _ => return ACL_DENIED,
        };
        let client = self.client(event.client);
        let (Some(client_id), false) = (client.client_id(), event.topic.is_null()) else { return ACL_DENIED };
        // SAFETY: not NULL, so it ends with NUL and lives as long as this call.
        let topic = unsafe { CStr::from_ptr(event.topic) }.to_bytes();
        let Ok(mut plugin) = self.plugin.try_borrow_mut() else { return ACL_DENIED };
        let (username, place) = (client.username(), client.has_protocol().then(|| client.place()));
        let allowed = plugin.check(&Check { client_id, username, place, access, topic, retain: event.retain });
        if allowed {
            return SUCCESS;
        }
        let lines = plugin.take_lines();
        drop(plugin);
        self.functions.log(lines);
        ACL_DENIED
    }

    /// Also what is dropped is confirmed to clients of MQTT 3.1.1, so that they do not send it again for ever.
    fn published(&self, event: &Published) -> c_int {
        let client = self.client(event.client);
        let Some(client_id) = client.client_id() else { return ACL_DENIED };
        let length = usize::try_from(event.payloadlen).unwrap_or(0);
        // SAFETY: it has as many bytes, and lives as long as this call.
        let payload = (!event.payload.is_null())
            .then(|| unsafe { std::slice::from_raw_parts(event.payload.cast::<u8>(), length) });
        // SAFETY: the broker's list.
        let properties = self.properties.map(|properties| unsafe { properties.signature(event.properties) });
        let Ok(mut plugin) = self.plugin.try_borrow_mut() else { return ACL_DENIED };
        let (payload, properties) = (payload.unwrap_or_default(), properties.unwrap_or_default());
        let judged = plugin.judge(&Message { client_id, place: client.place(), payload, properties: &properties });
        let lines = plugin.take_lines();
        drop(plugin);
        self.functions.log(lines);
        match judged {
            Ok(()) => SUCCESS,
            // The client comes back and sends it again: nothing is lost because we did not know enough.
            Err(MessageRefusal::Unknown) => UNKNOWN,
            Err(_) => ACL_DENIED,
        }
    }

    fn tick(&self, event: &mut Tick) -> c_int {
        event.next_ms = TICK_MS;
        // 2.1 reckons from here when the next call is due. One that is not due when something else wakes the broker is
        // forgotten until something else does so again: so it is always due, as in 2.0.
        event.now_s = event.now_s.saturating_sub(1);
        let begun = Instant::now();
        let Ok(mut plugin) = self.plugin.try_borrow_mut() else { return SUCCESS };
        plugin.tick(begun);
        let ending = Instant::now();
        loop {
            let (sessions, lines) = (plugin.next_to_end(), plugin.take_lines());
            // The broker tells us of each that it ends, and asks for its will.
            drop(plugin);
            self.functions.log(lines);
            if sessions.is_empty() {
                return SUCCESS;
            }
            for (_, client_id) in &sessions {
                // SAFETY: it ends with NUL. Whoever may do nothing any more has no will.
                unsafe { (self.functions.kick)(client_id.as_ptr(), false) };
            }
            let Ok(next) = self.plugin.try_borrow_mut() else { return SUCCESS };
            plugin = next;
            sessions.iter().for_each(|(handle, _)| plugin.ended(*handle));
            if ending.elapsed() >= ENDING {
                return SUCCESS;
            }
        }
    }

    fn disconnect(&self, event: &Disconnect) -> c_int {
        let client = self.client(event.client);
        if let (Some(client_id), Ok(mut plugin)) = (client.client_id(), self.plugin.try_borrow_mut()) {
            plugin.disconnected(client_id, client.place());
        }
        SUCCESS
    }

    fn reload(&self) -> c_int {
        if let Ok(mut plugin) = self.plugin.try_borrow_mut() {
            plugin.reloaded();
        }
        DEFER
    }
}
