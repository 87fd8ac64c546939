//! Follows one kind: lists it, then watches it from there; begins anew when the server has
//! forgotten where we were.

use std::time::Duration;

use cluster::{Kind, ObjectRef, Problem};
use futures_util::io::{AsyncBufRead, AsyncBufReadExt};
use http::HeaderValue;
use http::header::ACCEPT_ENCODING;
use kube::api::{ListParams, WatchParams};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::Timing;
use super::backoff::{Backoff, jittered};
use super::connection::{Connection, RequestError};
use super::observed::Observed;
use super::resource;
use crate::object::{self, Object, Reading};

/// Longest line of a watch, bytes; an object has at most a few MiB.
const LONGEST_LINE: usize = 64 << 20;

/// What is told about a kind.
pub(super) struct Told {
    pub(super) kind: Kind,
    pub(super) what: What,
}

pub(super) enum What {
    /// All of it; what is not here is not there.
    Listed(Vec<Item>),
    /// One object came or changed.
    Changed(Box<Item>),
    /// One object is gone.
    Gone(ObjectRef),
    /// It cannot be read now, and why; or it can be again.
    Trouble(Option<String>),
}

/// One object as read.
pub(super) struct Item {
    pub(super) id: ObjectRef,
    /// The object, or why it cannot be used.
    pub(super) object: Result<Object, Problem>,
    pub(super) observed: Observed,
}

/// Follows one kind until nobody listens any more.
pub(super) struct Reflector {
    pub(super) connection: Connection,
    pub(super) kind: Kind,
    pub(super) timing: Timing,
    pub(super) told: mpsc::Sender<Told>,
}

/// Nobody listens any more.
struct Deserted;

/// How a watch ended.
enum End {
    /// As agreed, or cut: go on from where we are.
    Over,
    /// The server has forgotten where we are.
    Forgotten,
    /// Something is wrong.
    Failed(RequestError),
}

#[derive(Deserialize)]
struct Page {
    metadata: PageMeta,
    #[serde(default)]
    items: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    more: String,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    object: Value,
}

impl Reflector {
    pub(super) async fn run(self) {
        // Nobody listens any more: the source is gone.
        let _ = self.follow().await;
    }

    async fn follow(&self) -> Result<(), Deserted> {
        let mut backoff = Backoff::new(self.timing.retry.0, self.timing.retry.1);
        let mut version: Option<String> = None;
        let mut in_trouble = false;
        loop {
            let failure = match &mut version {
                None => match self.list().await {
                    Ok(Some((items, at))) => {
                        self.tell(What::Listed(items)).await?;
                        version = Some(at);
                        None
                    }
                    Ok(None) => {
                        self.tell(What::Listed(Vec::new())).await?;
                        if !resource::is_optional(self.kind) {
                            in_trouble = true;
                            let why = "the server has no such kind; apply deploy/crds";
                            self.tell(What::Trouble(Some(why.into()))).await?;
                        }
                        backoff.reset();
                        sleep(jittered(self.timing.absent)).await;
                        continue;
                    }
                    Err(error) => Some(error),
                },
                Some(at) => {
                    let begun = Instant::now();
                    let before = at.clone();
                    let end = self.watch(at, &mut in_trouble).await?;
                    let went_well = *at != before || begun.elapsed() > self.timing.retry.1;
                    if went_well && !matches!(end, End::Failed(_)) {
                        backoff.reset();
                    }
                    match end {
                        End::Over if went_well => None,
                        // A server that ends every watch at once must not be asked in a circle.
                        End::Over => {
                            sleep(backoff.next()).await;
                            None
                        }
                        End::Forgotten => {
                            tracing::debug!("{}: listed anew", self.kind);
                            version = None;
                            sleep(backoff.next()).await;
                            None
                        }
                        End::Failed(error) => {
                            // Refused rather than broken: where we are may be what is wrong.
                            if error.code().is_some() {
                                version = None;
                            }
                            Some(error)
                        }
                    }
                }
            };
            match failure {
                None => {
                    if std::mem::take(&mut in_trouble) {
                        self.tell(What::Trouble(None)).await?;
                    }
                    if version.is_some() && backoff.failures() == 0 {
                        continue;
                    }
                }
                Some(error) => {
                    tracing::debug!("{}: {error}", self.kind);
                    let pause = backoff.next();
                    // One failure is nothing: servers restart, connections are cut.
                    if backoff.failures() > 1 {
                        in_trouble = true;
                        let text = format!("cannot be read: {error}");
                        self.tell(What::Trouble(Some(text))).await?;
                    }
                    sleep(pause).await;
                }
            }
        }
    }

    async fn tell(&self, what: What) -> Result<(), Deserted> {
        let kind = self.kind;
        let told = self.told.send(Told { kind, what }).await;
        told.map_err(|_| Deserted)
    }

    /// Every object and the version from which to watch; `None` if the server has no such kind.
    async fn list(&self) -> Result<Option<(Vec<Item>, String)>, RequestError> {
        let mut params = ListParams::default().limit(self.timing.page);
        let mut items = Vec::new();
        let resource = resource::all(self.kind);
        loop {
            let request = resource.list(&params).map_err(broken)?;
            let page = match self.connection.ask(request).await {
                Ok(page) => page,
                Err(error) if error.code() == Some(404) => return self.absent(error).await,
                // The rest of the list is forgotten: one answer, however long it is.
                Err(error) if error.code() == Some(410) && params.continue_token.is_some() => {
                    params = ListParams::default();
                    items.clear();
                    continue;
                }
                Err(error) => return Err(error),
            };
            let page: Page = serde_json::from_value(page).map_err(broken)?;
            for mut value in page.items {
                // Items of a typed list need not say what they are.
                if let Value::Object(fields) = &mut value {
                    let mut set = |key: &str, value: &str| {
                        fields.entry(key).or_insert_with(|| value.into());
                    };
                    set("apiVersion", self.kind.api_version());
                    set("kind", self.kind.as_str());
                }
                items.extend(self.item(value));
            }
            if page.metadata.more.is_empty() {
                return Ok(Some((items, page.metadata.resource_version)));
            }
            params.continue_token = Some(page.metadata.more);
        }
    }

    /// The server does not know the kind. A server that is starting says so of kinds that it will
    /// know in a moment, and to take that for "there are none" would take the network down; so the
    /// definition is looked for.
    async fn absent(
        &self,
        error: RequestError,
    ) -> Result<Option<(Vec<Item>, String)>, RequestError> {
        if !resource::is_custom(self.kind) {
            return Err(error);
        }
        let name = format!(
            "{}.{}",
            resource::plural(self.kind),
            resource::group(self.kind)
        );
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let definition = kube::core::Request::new(definitions);
        let request = definition.get(&name, &Default::default()).map_err(broken)?;
        match self.connection.ask(request).await {
            Err(missing) if missing.code() == Some(404) => Ok(None),
            Err(other) => Err(other),
            Ok(_) => Err(error),
        }
    }

    /// Follows changes from a version on, which is moved on with them.
    async fn watch(&self, version: &mut String, in_trouble: &mut bool) -> Result<End, Deserted> {
        let length = jittered(self.timing.watch);
        let params = WatchParams {
            timeout: Some(u32::try_from(length.as_secs().max(1)).unwrap_or(u32::MAX)),
            bookmarks: true,
            ..WatchParams::default()
        };
        let mut request = match resource::all(self.kind).watch(&params, version) {
            Ok(request) => request,
            Err(error) => return Ok(End::Failed(broken(error))),
        };
        let identity = HeaderValue::from_static("identity");
        request.headers_mut().insert(ACCEPT_ENCODING, identity);
        let client = self.connection.client();
        let silent = self.timing.silence;
        let stream = match timeout(silent, client.request_stream(request)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Ok(failed(error.into())),
            Err(_) => return Ok(End::Failed(RequestError::Silent(silent))),
        };
        if std::mem::take(in_trouble) {
            self.tell(What::Trouble(None)).await?;
        }
        let mut lines = std::pin::pin!(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            // Bookmarks come about every minute; who says nothing for longer is not there.
            match timeout(silent, read_line(&mut lines, &mut line)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return Ok(End::Over),
                Ok(Err(error)) => {
                    tracing::debug!("{}: the watch was cut: {error}", self.kind);
                    return Ok(End::Over);
                }
                Err(_) => {
                    tracing::debug!("{}: nothing for {silent:?}; watching anew", self.kind);
                    return Ok(End::Over);
                }
            }
            let event: Event = match serde_json::from_slice(&line) {
                Ok(event) => event,
                Err(error) => return Ok(End::Failed(broken(error))),
            };
            let at = event.object.pointer("/metadata/resourceVersion");
            let at = at.and_then(Value::as_str).map(str::to_string);
            match event.kind.as_str() {
                "ADDED" | "MODIFIED" => {
                    if let Some(item) = self.item(event.object) {
                        self.tell(What::Changed(Box::new(item))).await?;
                    }
                }
                "DELETED" => {
                    if let Some(item) = self.item(event.object) {
                        self.tell(What::Gone(item.id)).await?;
                    }
                }
                "BOOKMARK" => {}
                "ERROR" => {
                    let number = |field: &str| event.object.get(field).and_then(Value::as_u64);
                    let text = |field: &str| event.object.get(field).and_then(Value::as_str);
                    return Ok(failed(RequestError::Refused {
                        code: number("code")
                            .and_then(|c| c.try_into().ok())
                            .unwrap_or(500),
                        message: text("message").unwrap_or("an error").to_string(),
                    }));
                }
                other => tracing::debug!("{}: unknown event {other:?}", self.kind),
            }
            if let Some(at) = at {
                *version = at;
            }
        }
    }

    /// The object of a tree of values; nothing if it has not even a name.
    fn item(&self, mut value: Value) -> Option<Item> {
        if let Some(Value::Object(meta)) = value.get_mut("metadata") {
            // Of no use, and often the larger half of an object.
            meta.remove("managedFields");
        }
        let reading = object::read(&value);
        let id = match &reading {
            Reading::Object(object) => object.id.clone(),
            Reading::Bad(bad) if bad.id.is_some() => bad.id.clone()?,
            Reading::Bad(bad) => {
                tracing::warn!("{}: {}: {}", self.kind, bad.field, bad.message);
                return None;
            }
            Reading::Foreign { api_version, kind } => {
                tracing::warn!("{}: the server gave a {kind} ({api_version})", self.kind);
                return None;
            }
        };
        let observed = Observed::of(&id, &value);
        let object = match reading {
            Reading::Object(mut object) => {
                // A field of Kubernetes' own that we do not know is from a later version, and no
                // mistake of anybody's: the server has checked it.
                if !resource::is_custom(self.kind) {
                    object
                        .problems
                        .retain(|problem| !object::is_unknown_field(problem));
                }
                Ok(*object)
            }
            Reading::Bad(bad) => Err(Problem::refused(
                id.clone(),
                bad.field,
                format!("{}; what could be read before stays in force", bad.message),
                "correct it",
            )),
            Reading::Foreign { .. } => return None,
        };
        Some(Item {
            id,
            object,
            observed,
        })
    }
}

fn broken(error: impl std::fmt::Display) -> RequestError {
    RequestError::Broken(error.to_string())
}

fn failed(error: RequestError) -> End {
    match error.code() {
        Some(410) => End::Forgotten,
        _ => End::Failed(error),
    }
}

/// Reads up to the end of a line; false at the end of the stream. What an ended stream leaves of
/// a line is no line.
async fn read_line<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    line: &mut Vec<u8>,
) -> std::io::Result<bool> {
    loop {
        let chunk = reader.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(false);
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(chunk.len(), |end| end + 1);
        line.extend_from_slice(chunk.get(..taken).unwrap_or_default());
        reader.consume_unpin(taken);
        if end.is_some() {
            return Ok(true);
        }
        if line.len() > LONGEST_LINE {
            return Err(std::io::Error::other("a line without an end"));
        }
    }
}

impl std::fmt::Debug for Reflector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reflector of {}", self.kind)
    }
}

/// Pauses and limits of waiting.
const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            page: 500,
            watch: seconds(300),
            silence: seconds(100),
            retry: (Duration::from_millis(200), seconds(20)),
            absent: seconds(10),
            quiet: Duration::from_millis(10),
            latest: Duration::from_millis(50),
        }
    }
}
