//! One request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use hyper::{Method, Request};
use serde_json::{Value, json};

use super::answer::{self, Answer, Form, List};
use super::query::Query;
use super::target::Target;
use super::{discovery, watch};
use crate::auth::{Attributes, Credentials, User, allowed};
use crate::faults::{Asked, Fault, Faults};
use crate::resource::Resource;
use crate::selector::{Selector, is_selectable};
use crate::status::Refusal;
use crate::store::{DeleteOptions, Listing, Patch, Store, Write, about};

/// Bytes of a request's body at most, as etcd's limit makes it.
const LONGEST_BODY: usize = 3 << 20;

/// What every connection shares.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) credentials: Arc<Mutex<Credentials>>,
    pub(crate) faults: Faults,
    pub(crate) address: String,
    /// Who the connection's certificate says it is.
    pub(crate) certified: Option<User>,
}

impl Caller {
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is to break.
#[derive(Debug)]
pub(crate) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection breaks on purpose")
    }
}

impl std::error::Error for Broken {}

/// A request with everything that was read from its head.
struct Asking {
    method: Method,
    target: Target,
    query: Query,
    verb: &'static str,
    accept: String,
    content_type: String,
    user: User,
    manager: String,
}

/// Answers one request.
pub(crate) async fn handle(caller: Caller, request: Request<Incoming>) -> Result<Answer, Broken> {
    let header = |name| {
        let value = request.headers().get(name);
        value
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let user = identify(&caller, &header(AUTHORIZATION));
    let user_agent = header(USER_AGENT);
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let target = Target::parse(request.uri().path());
    let manager = match query.text("fieldManager") {
        // As the real server does: the client's name without its version.
        "" => user_agent.split('/').next().unwrap_or_default().to_owned(),
        manager => manager.to_owned(),
    };
    let asking = Asking {
        verb: verb(request.method(), &target, &query),
        method: request.method().clone(),
        accept: header(ACCEPT),
        content_type: header(CONTENT_TYPE),
        user: user.clone().unwrap_or_else(User::anonymous),
        target,
        query,
        manager,
    };
    let mut asked = asked(&asking, user_agent);
    let faults = caller.faults.meet(&asked);
    for fault in &faults {
        match fault {
            Fault::Delay(time) => tokio::time::sleep(*time).await,
            Fault::Drop => {
                caller.faults.record(asked);
                return Err(Broken);
            }
            Fault::Status(code) => {
                asked.code = *code;
                caller.faults.record(asked);
                return Ok(answer::refusal(&trouble(*code)));
            }
            Fault::DropAfter => {}
        }
    }
    let body = Limited::new(request.into_body(), LONGEST_BODY)
        .collect()
        .await;
    let done = match (user, body) {
        (None, _) if !caller.store().options.anonymous => {
            Err(Refusal::new(401, "Unauthorized", "Unauthorized"))
        }
        (_, Err(_)) => Err(Refusal::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {LONGEST_BODY}"),
        )),
        (_, Ok(body)) => dispatch(&caller, &asking, &body.to_bytes()),
    };
    let answer = done.unwrap_or_else(|refusal| answer::refusal(&refusal));
    let lost = faults.contains(&Fault::DropAfter);
    asked.code = if lost { 0 } else { answer.status().as_u16() };
    caller.faults.record(asked);
    if lost { Err(Broken) } else { Ok(answer) }
}

fn identify(caller: &Caller, authorization: &str) -> Option<User> {
    let token = authorization.strip_prefix("Bearer ").map(str::trim);
    match token {
        Some(token) => {
            let credentials = caller.credentials.lock();
            let credentials = credentials.unwrap_or_else(PoisonError::into_inner);
            credentials.tokens.get(token).cloned()
        }
        None => caller.certified.clone(),
    }
}

/// The verb of RBAC.
fn verb(method: &Method, target: &Target, query: &Query) -> &'static str {
    let named = matches!(target, Target::Resource { name, .. } if !name.is_empty());
    let resource = matches!(target, Target::Resource { .. });
    match (method.as_str(), named) {
        ("GET", _) if !resource => "get",
        ("GET", _) if query.flag("watch") => "watch",
        ("GET" | "HEAD", true) => "get",
        ("GET" | "HEAD", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => "",
    }
}

fn asked(asking: &Asking, user_agent: String) -> Asked {
    let (resource, namespace, name) = match &asking.target {
        Target::Path(path) => (format!("/{}", path.join("/")), String::new(), String::new()),
        Target::Resource {
            plural,
            namespace,
            name,
            subresource,
            ..
        } => (
            with_subresource(plural, subresource),
            namespace.clone(),
            name.clone(),
        ),
    };
    Asked {
        verb: asking.verb.to_owned(),
        resource,
        namespace,
        name,
        manager: asking.manager.clone(),
        user_agent,
        user: asking.user.name.clone(),
        code: 0,
    }
}

fn with_subresource(plural: &str, subresource: &str) -> String {
    match subresource {
        "" => plural.to_owned(),
        subresource => format!("{plural}/{subresource}"),
    }
}

/// A server in trouble, in the words of the real one.
fn trouble(code: u16) -> Refusal {
    match code {
        429 => Refusal::new(
            429,
            "TooManyRequests",
            "the server has received too many requests and has asked us to try again later",
        )
        .with_retry_after(1),
        500 => Refusal::new(
            500,
            "InternalError",
            "Internal error occurred: etcdserver: request timed out",
        ),
        503 => Refusal::new(
            503,
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        )
        .with_retry_after(1),
        504 => Refusal::new(
            504,
            "Timeout",
            "Timeout: request did not complete within the allotted timeout",
        ),
        410 => Refusal::expired("The resourceVersion for the provided watch is too old."),
        code => Refusal::new(code, "", format!("refused on purpose with {code}")),
    }
}

fn dispatch(caller: &Caller, asking: &Asking, body: &[u8]) -> Result<Answer, Refusal> {
    let (group, version, plural, namespace, name, subresource) = match &asking.target {
        Target::Path(path) => {
            let store = caller.store();
            let path_text = format!("/{}", path.join("/"));
            authorize(&store, asking, "", "", "", "", &path_text)?;
            if asking.method != Method::GET {
                return Err(Refusal::method_not_allowed());
            }
            return discovery::discover(&store, path, &caller.address);
        }
        Target::Resource {
            group,
            version,
            plural,
            namespace,
            name,
            subresource,
        } => (group, version, plural, namespace, name, subresource),
    };
    let full = with_subresource(plural, subresource);
    let store = caller.store();
    let field_name = asking
        .query
        .text("fieldSelector")
        .split(',')
        .find_map(|part| part.strip_prefix("metadata.name="))
        .map(|name| name.trim_start_matches('='));
    let checked_name = if name.is_empty() {
        field_name.unwrap_or_default()
    } else {
        name
    };
    // The namespace itself is authorized as in itself.
    let checked_namespace = if plural == "namespaces" && group.is_empty() {
        name
    } else {
        namespace
    };
    authorize(
        &store,
        asking,
        group,
        &full,
        checked_namespace,
        checked_name,
        "",
    )?;
    if group == "authorization.k8s.io" && plural == "selfsubjectaccessreviews" {
        return review(&store, asking, body);
    }
    let Some(resource) = store.resource(group, version, plural) else {
        return Err(Refusal::no_such_resource());
    };
    drop(store);
    if !subresource.is_empty() && !resource.has(subresource) {
        return Err(match resource.custom {
            Some(_) => Refusal::not_found(crate::status::About {
                group,
                resource: plural,
                name,
            }),
            None => Refusal::no_such_resource(),
        });
    }
    // Collections of all namespaces can be read; everything else is in one.
    let reads_all = name.is_empty() && matches!(asking.verb, "list" | "watch");
    if resource.namespaced == namespace.is_empty() && !reads_all {
        return Err(if name.is_empty() && asking.method == Method::POST {
            Refusal::method_not_allowed()
        } else {
            Refusal::no_such_resource()
        });
    }
    if !resource.namespaced && !namespace.is_empty() {
        return Err(Refusal::no_such_resource());
    }
    let to = To {
        resource: &resource,
        namespace,
        name,
        subresource,
    };
    let form = Form::of(&asking.accept);
    match asking.verb {
        "get" => {
            let object = caller.store().get(&resource, namespace, name)?;
            Ok(answer::json(200, &*form.of_object(&object)))
        }
        "list" => list(caller, asking, &to, form),
        "watch" => watch::start(caller, &asking.query, selector(asking, &to)?, &to, form),
        "create" => create(caller, asking, &to, body),
        "update" => {
            let w = to.write(asking)?;
            let object = parse(&asking.content_type, body)?;
            let (object, warnings) = caller.store().update(&w, object)?;
            let mut answer = answer::json(200, &*form.of_object(&object));
            answer::warn(&mut answer, &warnings);
            Ok(answer)
        }
        "patch" => patch(caller, asking, &to, body, form),
        "delete" | "deletecollection" => delete(caller, asking, &to, body),
        _ => Err(Refusal::method_not_allowed()),
    }
}

/// What a request is to.
pub(super) struct To<'a> {
    pub(super) resource: &'a Arc<Resource>,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    subresource: &'a str,
}

impl<'a> To<'a> {
    fn write(&self, asking: &Asking) -> Result<Write<'a>, Refusal> {
        Ok(Write {
            resource: self.resource,
            namespace: self.namespace,
            name: self.name,
            subresource: self.subresource,
            manager: asking.manager.clone(),
            dry_run: asking.query.dry_run()?,
            validation: asking.query.validation()?,
        })
    }
}

fn authorize(
    store: &Store,
    asking: &Asking,
    group: &str,
    resource: &str,
    namespace: &str,
    name: &str,
    path: &str,
) -> Result<(), Refusal> {
    let attributes = Attributes {
        verb: asking.verb,
        group,
        resource,
        namespace,
        name,
        path,
    };
    if !store.options.rbac || allowed(store, &asking.user, &attributes) {
        return Ok(());
    }
    let user = &asking.user.name;
    if resource.is_empty() {
        let message = format!(
            "forbidden: User {user:?} cannot {} path {path:?}",
            asking.verb
        );
        return Err(Refusal::new(403, "Forbidden", message));
    }
    let place = if namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {namespace:?}")
    };
    let plural = resource.split('/').next().unwrap_or_default();
    let about = crate::status::About {
        group,
        resource: plural,
        name,
    };
    Err(Refusal::forbidden(
        about,
        &format!(
            "User {user:?} cannot {} resource {resource:?} in API group {group:?} {place}",
            asking.verb
        ),
    ))
}

fn selector(asking: &Asking, to: &To) -> Result<Selector, Refusal> {
    let fields = asking.query.text("fieldSelector");
    let custom = to.resource.custom.as_ref();
    let known = |path: &str| match custom {
        None => is_selectable(&to.resource.kind, path),
        Some(custom) => {
            is_selectable("", path) || custom.selectable.iter().any(|field| field == path)
        }
    };
    let by_name = match to.name {
        "" => fields.to_owned(),
        name => format!("{fields},metadata.name={name}"),
    };
    Selector::parse(asking.query.text("labelSelector"), &by_name, known)
}

fn list(caller: &Caller, asking: &Asking, to: &To, form: Form) -> Result<Answer, Refusal> {
    let query = &asking.query;
    let selector = selector(asking, to)?;
    let at = query.at()?;
    let mut limit = query.number("limit").unwrap_or(0) as usize;
    if query.text("resourceVersion") == "0" {
        // A cache answers whole.
        limit = 0;
    }
    let listing = Listing {
        at,
        limit,
        token: query.text("continue"),
        lag: caller.faults.lag(),
    };
    let page = caller
        .store()
        .list(to.resource, to.namespace, &selector, listing)?;
    let list = List {
        resource: to.resource,
        page: &page,
        form,
    };
    Ok(answer::json(200, &list))
}

fn create(caller: &Caller, asking: &Asking, to: &To, body: &[u8]) -> Result<Answer, Refusal> {
    let object = parse(&asking.content_type, body)?;
    let w = to.write(asking)?;
    match to.subresource {
        "" if to.name.is_empty() => {}
        "binding" => {
            caller.store().bind(&w, &object)?;
            let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
                              "status": "Success", "code": 201});
            return Ok(answer::json(201, &done));
        }
        "eviction" => {
            let grace = object.pointer("/deleteOptions/gracePeriodSeconds");
            let options = DeleteOptions {
                grace: grace.and_then(Value::as_i64),
                ..DeleteOptions::default()
            };
            let key = (to.namespace.to_owned(), to.name.to_owned());
            caller.store().delete(to.resource, &key, &options)?;
            let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
                              "status": "Success", "code": 201});
            return Ok(answer::json(201, &done));
        }
        "token" => {
            caller.store().get(to.resource, to.namespace, to.name)?;
            let user = User::service_account(to.namespace, to.name);
            let token = token_for(caller, user);
            let mut request = object;
            let due = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
            request["status"] = json!({"token": token, "expirationTimestamp": due.to_string()});
            return Ok(answer::json(201, &request));
        }
        _ => return Err(Refusal::method_not_allowed()),
    }
    let (object, warnings) = caller.store().create(&w, object)?;
    let mut answer = answer::json(201, &*Form::of(&asking.accept).of_object(&object));
    answer::warn(&mut answer, &warnings);
    Ok(answer)
}

/// Makes a token for a user.
pub(crate) fn token_for(caller: &Caller, user: User) -> String {
    use std::hash::BuildHasher as _;
    let mut credentials = caller
        .credentials
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let count = credentials.tokens.len();
    let random = std::collections::hash_map::RandomState::new().hash_one(count);
    let token = format!("token-{count}-{random:016x}");
    credentials.tokens.insert(token.clone(), user);
    token
}

fn patch(
    caller: &Caller,
    asking: &Asking,
    to: &To,
    body: &[u8],
    form: Form,
) -> Result<Answer, Refusal> {
    let mut w = to.write(asking)?;
    let media = asking
        .content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let patch = match media {
        "application/merge-patch+json" => Patch::Merge(parse("", body)?),
        "application/json-patch+json" => Patch::Json(parse("", body)?),
        "application/strategic-merge-patch+json" => Patch::Strategic(parse("", body)?),
        "application/apply-patch+yaml" => {
            // Only apply insists on a manager that is named.
            w.manager = asking.query.text("fieldManager").to_owned();
            Patch::Apply {
                wanted: parse("yaml", body)?,
                force: asking.query.flag("force"),
            }
        }
        other => {
            return Err(Refusal::unsupported_media_type(format!(
                "the body of the request was in an unknown format ({other}) - accepted media types \
                 include: application/json-patch+json, application/merge-patch+json, \
                 application/strategic-merge-patch+json, application/apply-patch+yaml"
            )));
        }
    };
    let mut store = caller.store();
    let creates = matches!(patch, Patch::Apply { .. })
        && store.get(to.resource, to.namespace, to.name).is_err();
    if creates {
        let attributes = Attributes {
            verb: "create",
            group: &to.resource.group,
            resource: &to.resource.plural,
            namespace: to.namespace,
            name: to.name,
            path: "",
        };
        if store.options.rbac && !allowed(&store, &asking.user, &attributes) {
            return Err(Refusal::forbidden(
                about(to.resource, to.name),
                &format!(
                    "User {:?} cannot create resource {:?} in API group {:?}",
                    asking.user.name, to.resource.plural, to.resource.group
                ),
            ));
        }
    }
    let ((object, warnings), created) = store.patch(&w, patch)?;
    drop(store);
    let mut answer = answer::json(if created { 201 } else { 200 }, &*form.of_object(&object));
    answer::warn(&mut answer, &warnings);
    Ok(answer)
}

fn delete(caller: &Caller, asking: &Asking, to: &To, body: &[u8]) -> Result<Answer, Refusal> {
    let options = match body {
        [] => Value::Null,
        body => parse(&asking.content_type, body)?,
    };
    let text = |pointer: &str| {
        let value = options.pointer(pointer).and_then(Value::as_str);
        value.map(str::to_owned)
    };
    let grace = options.get("gracePeriodSeconds").and_then(Value::as_i64);
    let options = DeleteOptions {
        grace: grace.or_else(|| asking.query.text("gracePeriodSeconds").parse().ok()),
        uid: text("/preconditions/uid"),
        resource_version: text("/preconditions/resourceVersion"),
        dry_run: asking.query.dry_run()? || options["dryRun"] == json!(["All"]),
    };
    let mut store = caller.store();
    if to.name.is_empty() {
        let selector = selector(asking, to)?;
        let items = store.delete_collection(to.resource, to.namespace, &selector, &options)?;
        let page = crate::store::Page {
            items,
            revision: store.revision(),
            continue_token: None,
            remaining: None,
        };
        let list = List {
            resource: to.resource,
            page: &page,
            form: Form::Whole,
        };
        return Ok(answer::json(200, &list));
    }
    let key = (to.namespace.to_owned(), to.name.to_owned());
    let answer = store.delete(to.resource, &key, &options)?;
    Ok(answer::json(200, &*answer))
}

/// `kubectl auth can-i`.
fn review(store: &Store, asking: &Asking, body: &[u8]) -> Result<Answer, Refusal> {
    let mut review = parse(&asking.content_type, body)?;
    let text = |pointer: &str| {
        let value = review.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let of = |field: &str| text(&format!("/spec/resourceAttributes/{field}"));
    let resource = with_subresource(&of("resource"), &of("subresource"));
    let (verb, path) = match of("verb") {
        verb if verb.is_empty() => (
            text("/spec/nonResourceAttributes/verb"),
            text("/spec/nonResourceAttributes/path"),
        ),
        verb => (verb, String::new()),
    };
    let may = !store.options.rbac
        || allowed(
            store,
            &asking.user,
            &Attributes {
                verb: &verb,
                group: &of("group"),
                resource: &resource,
                namespace: &of("namespace"),
                name: &of("name"),
                path: &path,
            },
        );
    review["status"] = json!({"allowed": may});
    Ok(answer::json(201, &review))
}

/// Reads a body: JSON, or YAML where the media type says so.
fn parse(content_type: &str, body: &[u8]) -> Result<Value, Refusal> {
    let bad = |error: String| {
        Refusal::bad_request(format!("the object provided is unrecognized: {error}"))
    };
    if content_type.contains("protobuf") {
        return Err(Refusal::unsupported_media_type(
            "protobuf is not spoken here - accepted media types include: application/json, \
             application/yaml",
        ));
    }
    if content_type.contains("yaml") {
        let text = std::str::from_utf8(body).map_err(|e| bad(e.to_string()))?;
        return serde_saphyr::from_str(text).map_err(|e| bad(e.to_string()));
    }
    serde_json::from_slice(body).map_err(|e| bad(e.to_string()))
}

/// The error of a fault in a watch.
pub(super) fn trouble_in_watch(code: u16) -> Refusal {
    trouble(code)
}

/// Time between looks at whether a client of a quiet watch is still there.
pub(super) const LOOK: Duration = Duration::from_secs(1);
