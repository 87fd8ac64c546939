//! Creating and changing objects.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Store, about, read::present};
use crate::fields::{self, Manager, Managers, Operation, Shape};
use crate::kinds;
use crate::patch;
use crate::resource::Resource;
use crate::status::{FieldError, Refusal};
use crate::{crd, schema, typed};

/// What to do about fields that a kind does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// One write: to what, by whom, how.
#[derive(Clone, Debug)]
pub(crate) struct Write<'a> {
    pub(crate) resource: &'a Arc<Resource>,
    /// Empty for cluster-wide ones.
    pub(crate) namespace: &'a str,
    /// Empty where the object has it.
    pub(crate) name: &'a str,
    /// Empty for the object itself.
    pub(crate) subresource: &'a str,
    /// The field manager.
    pub(crate) manager: String,
    pub(crate) dry_run: bool,
    pub(crate) validation: FieldValidation,
}

impl<'a> Write<'a> {
    /// A write of the server's own, or of a controller it stands in for.
    pub(crate) fn by_server(
        resource: &'a Arc<Resource>,
        namespace: &'a str,
        name: &'a str,
    ) -> Self {
        Write {
            resource,
            namespace,
            name,
            subresource: "",
            manager: "kube-controller-manager".into(),
            dry_run: false,
            validation: FieldValidation::Ignore,
        }
    }
}

/// A patch, by its media type.
#[derive(Clone, Debug)]
pub(crate) enum Patch {
    Merge(Value),
    Json(Value),
    Strategic(Value),
    Apply { wanted: Value, force: bool },
}

/// An object that was written, and warnings for the client.
pub(crate) type Written = (Arc<Value>, Vec<String>);

/// Now, as objects have it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

impl Store {
    /// POST.
    pub(crate) fn create(&mut self, w: &Write, object: Value) -> Result<Written, Refusal> {
        let (object, warnings) = self.admit(w, object)?;
        self.create_admitted(w, object, None, warnings)
    }

    fn create_admitted(
        &mut self,
        w: &Write,
        mut object: Value,
        managers: Option<Managers>,
        warnings: Vec<String>,
    ) -> Result<Written, Refusal> {
        let resource = w.resource;
        let now = now();
        let metadata = metadata(&mut object);
        let mut name = text(metadata, "name");
        if name.is_empty() {
            let prefix = text(metadata, "generateName");
            if prefix.is_empty() {
                return Err(Refusal::invalid(
                    &resource.kind,
                    about(resource, ""),
                    &[FieldError::required(
                        "metadata.name",
                        "name or generateName is required",
                    )],
                ));
            }
            name = format!("{prefix}{}", self.suffix());
        }
        if !text(metadata, "resourceVersion").is_empty() {
            let why = "resourceVersion should not be set on objects to be created";
            return Err(Refusal::new(500, "", why));
        }
        metadata.insert("name".into(), json!(name));
        if resource.namespaced {
            metadata.insert("namespace".into(), json!(w.namespace));
        } else {
            metadata.remove("namespace");
        }
        for set_by_server in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
            "generation",
        ] {
            metadata.remove(set_by_server);
        }
        let uid = self.uid();
        metadata.insert("uid".into(), json!(uid));
        metadata.insert("creationTimestamp".into(), json!(now));
        metadata.remove("managedFields");
        tidy(metadata);
        if kinds::has_generation(resource) {
            metadata.insert("generation".into(), json!(1));
        }
        self.check_namespace(w, &name)?;
        let key = (w.namespace.to_owned(), name.clone());
        if self.object(&resource.storage(), &key).is_some() {
            return Err(Refusal::already_exists(about(resource, &name)));
        }
        if resource.has("status")
            && !matches!(resource.plural.as_str(), "nodes" | "namespaces")
            && let Some(map) = object.as_object_mut()
        {
            map.remove("status");
        }
        kinds::default(resource, &mut object);
        self.allocate(resource, None, &mut object)?;
        self.validate(resource, &name, &object)?;
        let managers = managers.unwrap_or_else(|| {
            let mut managers = Managers::default();
            let empty = json!({});
            managers.update(&manager(w), &empty, &object, &shape(resource), &now);
            managers
        });
        managers.write(&mut object);
        if resource.plural == "customresourcedefinitions" {
            crd::establish(&mut object, &now);
        }
        let stored = store_form(resource, object);
        if w.dry_run {
            return Ok((present(resource, &Arc::new(stored)), warnings));
        }
        let stored = self.put(&resource.storage(), &key, stored);
        self.after_write(resource, &stored);
        Ok((present(resource, &stored), warnings))
    }

    /// PUT, of the object or of a subresource.
    pub(crate) fn update(&mut self, w: &Write, object: Value) -> Result<Written, Refusal> {
        let (mut object, warnings) = self.admit(w, object)?;
        let name = text(metadata(&mut object), "name");
        if name != w.name {
            return Err(Refusal::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                w.name
            )));
        }
        let key = (w.namespace.to_owned(), w.name.to_owned());
        let Some(old) = self.object(&w.resource.storage(), &key).cloned() else {
            if w.resource.create_on_update() && w.subresource.is_empty() {
                return self.create_admitted(w, object, None, warnings);
            }
            return Err(Refusal::not_found(about(w.resource, w.name)));
        };
        let version = text(metadata(&mut object), "resourceVersion");
        if version.is_empty() && !w.resource.unconditional_update() {
            return Err(Refusal::invalid(
                &w.resource.kind,
                about(w.resource, w.name),
                &[FieldError::invalid(
                    "metadata.resourceVersion",
                    &json!(0),
                    "must be specified for an update",
                )],
            ));
        }
        let old = present(w.resource, &old);
        check_preconditions(w, &old, metadata(&mut object))?;
        self.replace(w, &old, object, None, warnings)
    }

    /// PATCH; true if the object is new.
    pub(crate) fn patch(&mut self, w: &Write, patch: Patch) -> Result<(Written, bool), Refusal> {
        let resource = w.resource;
        let key = (w.namespace.to_owned(), w.name.to_owned());
        let old = self.object(&resource.storage(), &key).cloned();
        let old = old.map(|old| present(resource, &old));
        let patch = match patch {
            Patch::Apply { wanted, force } => return self.apply(w, old, wanted, force),
            patch => patch,
        };
        let Some(old) = old else {
            return Err(Refusal::not_found(about(resource, w.name)));
        };
        let mut object = (*old).clone();
        match &patch {
            Patch::Merge(patch) => patch::merge(&mut object, patch),
            Patch::Json(patch) => patch::json(&mut object, patch)?,
            Patch::Strategic(patch) if resource.custom.is_none() => {
                patch::strategic(&mut object, patch, &shape(resource))?;
            }
            _ => {
                return Err(Refusal::unsupported_media_type(
                    "the body of the request was in an unknown format - accepted media types \
                     include: application/json-patch+json, application/merge-patch+json, \
                     application/apply-patch+yaml",
                ));
            }
        }
        let (mut object, warnings) = self.admit(w, object)?;
        check_preconditions(w, &old, metadata(&mut object))?;
        Ok((self.replace(w, &old, object, None, warnings)?, false))
    }

    fn apply(
        &mut self,
        w: &Write,
        old: Option<Arc<Value>>,
        wanted: Value,
        force: bool,
    ) -> Result<(Written, bool), Refusal> {
        let resource = w.resource;
        if w.manager.is_empty() {
            return Err(Refusal::invalid(
                "PatchOptions",
                about(resource, ""),
                &[FieldError::required(
                    "fieldManager",
                    "is required for apply patch",
                )],
            ));
        }
        if wanted
            .pointer("/metadata/managedFields")
            .is_some_and(|m| !m.is_null())
        {
            return Err(Refusal::bad_request("metadata.managedFields must be nil"));
        }
        declared(w, &wanted)?;
        let given = wanted.clone();
        let (decoded, warnings) = self.admit_parts(w, wanted)?;
        let wanted = keep_given(&decoded, &given);
        if let Some(old) = &old {
            check_preconditions(w, old, metadata(&mut wanted.clone()))?;
        } else if !w.subresource.is_empty() {
            return Err(Refusal::not_found(about(resource, w.name)));
        }
        let live = old.clone().unwrap_or_else(|| {
            Arc::new(
                json!({"apiVersion": resource.api_version(), "kind": resource.kind,
                            "metadata": {"name": w.name}}),
            )
        });
        let has_status = resource.has("status");
        let custom = resource.custom.is_some();
        let mine = |field: &str| match w.subresource {
            "status" if custom => field == "status",
            "status" => field != "spec",
            _ => field != "status" || !has_status,
        };
        let shape = shape(resource);
        let applied = fields::apply(&live, &wanted, &manager(w), &shape, mine, &now());
        if !applied.conflicts.is_empty() && !force {
            return Err(conflicts(&applied.conflicts));
        }
        let mut object = applied.object;
        metadata(&mut object).insert("name".into(), json!(w.name));
        match old {
            Some(old) => {
                let written = self.replace(w, &old, object, Some(applied.managers), warnings)?;
                Ok((written, false))
            }
            None => {
                metadata(&mut object).remove("resourceVersion");
                let managers = Some(applied.managers);
                Ok((self.create_admitted(w, object, managers, warnings)?, true))
            }
        }
    }

    /// Puts `object` in place of `old`, as far as the endpoint may change it.
    fn replace(
        &mut self,
        w: &Write,
        old: &Arc<Value>,
        mut object: Value,
        managers: Option<Managers>,
        warnings: Vec<String>,
    ) -> Result<Written, Refusal> {
        let resource = w.resource;
        let now = now();
        restrict(w, old, &mut object);
        let given_managed = object.pointer("/metadata/managedFields").cloned();
        keep_system_metadata(old, metadata(&mut object));
        tidy(metadata(&mut object));
        check_finalizers(w, old, &object)?;
        kinds::default(resource, &mut object);
        self.allocate(resource, Some(old), &mut object)?;
        self.validate(resource, w.name, &object)?;
        if kinds::has_generation(resource) && kinds::content_differs(resource, old, &object) {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            metadata(&mut object).insert("generation".into(), json!(generation));
        }
        let managers = managers.unwrap_or_else(|| {
            // An explicit empty list resets ownership.
            let reset = given_managed == Some(json!([{}])) || given_managed == Some(json!([]));
            let mut managers = match given_managers(given_managed) {
                _ if reset => Managers::default(),
                Some(given) => given,
                None => Managers::of(old),
            };
            managers.update(&manager(w), old, &object, &shape(resource), &now);
            managers
        });
        managers.write(&mut object);
        if resource.plural == "customresourcedefinitions" {
            crd::establish(&mut object, &now);
        }
        let key = (w.namespace.to_owned(), w.name.to_owned());
        if object == **old {
            return Ok((old.clone(), warnings));
        }
        let object = store_form(resource, object);
        if w.dry_run {
            return Ok((present(resource, &Arc::new(object)), warnings));
        }
        let stored = self.put(&resource.storage(), &key, object);
        self.after_write(resource, &stored);
        self.finish_deletion(resource, &key);
        Ok((present(resource, &stored), warnings))
    }

    /// Decodes an object of a request: its kind fits the path, its fields their types.
    fn admit(&self, w: &Write, object: Value) -> Result<(Value, Vec<String>), Refusal> {
        let (object, warnings) = self.admit_parts(w, object)?;
        if let Some(schema) = w.resource.custom.as_ref().map(|c| &c.schema)
            && !schema.is_null()
        {
            let errors = schema::validate(&object, schema);
            if !errors.is_empty() {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                return Err(Refusal::invalid(
                    &w.resource.kind,
                    about(w.resource, name),
                    &errors,
                ));
            }
        }
        Ok((object, warnings))
    }

    fn admit_parts(&self, w: &Write, mut object: Value) -> Result<(Value, Vec<String>), Refusal> {
        let resource = w.resource;
        let api_version = resource.api_version();
        let Some(map) = object.as_object_mut() else {
            return Err(Refusal::bad_request(
                "the body of the request is not an object",
            ));
        };
        for (field, wanted) in [("apiVersion", &api_version), ("kind", &resource.kind)] {
            match map.get(field).and_then(Value::as_str) {
                None | Some("") => {
                    map.insert(field.into(), json!(wanted));
                }
                Some(given) if given == wanted => {}
                Some(given) => {
                    return Err(Refusal::bad_request(format!(
                        "{field} in the data ({given}) does not match the expected {field} ({wanted})"
                    )));
                }
            }
        }
        if !map.get("metadata").is_some_and(Value::is_object) {
            map.insert("metadata".into(), json!({}));
        }
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        if resource.namespaced && !namespace.is_empty() && namespace != w.namespace {
            return Err(Refusal::bad_request(format!(
                "the namespace of the provided object does not match the namespace sent on the \
                 request ({namespace} and {})",
                w.namespace
            )));
        }
        if resource.namespaced {
            metadata(&mut object).insert("namespace".into(), json!(w.namespace));
        }
        let given = object.clone();
        let (object, dropped) = match &resource.custom {
            None => {
                let object = typed::decode(resource, object)?;
                let dropped = typed::dropped(&given, &object);
                (object, dropped)
            }
            Some(custom) => {
                typed_metadata(&mut object)?;
                let dropped = if custom.schema.is_null() {
                    Vec::new()
                } else {
                    schema::default_and_prune(&mut object, &custom.schema)
                };
                (object, dropped)
            }
        };
        let unknown: Vec<String> = dropped
            .iter()
            .filter(|path| !matches!(path.as_str(), "metadata.selfLink"))
            .map(|path| format!("unknown field {path:?}"))
            .collect();
        match w.validation {
            FieldValidation::Strict if !unknown.is_empty() => Err(Refusal::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
                resource.kind,
                resource.version,
                resource.kind,
                unknown.join(", ")
            ))),
            FieldValidation::Warn => Ok((object, unknown)),
            _ => Ok((object, Vec::new())),
        }
    }

    fn validate(&self, resource: &Resource, name: &str, object: &Value) -> Result<(), Refusal> {
        let mut errors = kinds::validate(resource, object);
        if resource.plural == "customresourcedefinitions" {
            errors.extend(crd::validate(object));
        }
        if let Some(custom) = &resource.custom
            && !custom.schema.is_null()
        {
            errors.extend(schema::validate(object, &custom.schema));
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(Refusal::invalid(
            &resource.kind,
            about(resource, name),
            &errors,
        ))
    }

    /// The namespace of a new object is there, and is not on its way out.
    fn check_namespace(&self, w: &Write, name: &str) -> Result<(), Refusal> {
        if !w.resource.namespaced {
            return Ok(());
        }
        let found = self
            .all("", "namespaces")
            .find(|n| n["metadata"]["name"] == w.namespace);
        let Some(namespace) = found else {
            let namespaces = crate::status::About {
                group: "",
                resource: "namespaces",
                name: w.namespace,
            };
            return Err(Refusal::not_found(namespaces));
        };
        if namespace["metadata"].get("deletionTimestamp").is_some() {
            return Err(Refusal::forbidden(
                about(w.resource, name),
                &format!(
                    "unable to create new content in namespace {} because it is being terminated",
                    w.namespace
                ),
            ));
        }
        Ok(())
    }

    /// What follows from a write.
    fn after_write(&mut self, resource: &Resource, object: &Value) {
        if resource.plural == "customresourcedefinitions" {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
            let group = text("/spec/group").unwrap_or_default().to_owned();
            let plural = text("/spec/names/plural").unwrap_or_default().to_owned();
            self.set_resources(&group, &plural, crd::resources(object));
        }
    }

    /// Five characters that no name has, as generateName adds them.
    fn suffix(&mut self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let serial = self.serial();
        let mut bits = RandomState::new().hash_one(serial);
        let mut suffix = String::new();
        for _ in 0..5 {
            suffix.push(char::from(LETTERS[(bits % LETTERS.len() as u64) as usize]));
            bits /= LETTERS.len() as u64;
        }
        suffix
    }

    /// A random identifier, RFC 9562 version 4.
    fn uid(&mut self) -> String {
        let serial = self.serial();
        let (a, b) = (
            RandomState::new().hash_one(serial),
            RandomState::new().hash_one(serial),
        );
        format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            (b >> 48) & 0xfff,
            b & 0xffff_ffff_ffff
        )
    }
}

pub(super) fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    match &mut object["metadata"] {
        Value::Object(map) => map,
        _ => unreachable!("just made"),
    }
}

fn text(map: &Map<String, Value>, name: &str) -> String {
    let value = map.get(name).and_then(Value::as_str);
    value.unwrap_or_default().to_owned()
}

fn manager(w: &Write) -> Manager {
    Manager {
        name: w.manager.clone(),
        operation: Operation::Update,
        api_version: w.resource.api_version(),
        subresource: w.subresource.to_owned(),
    }
}

/// How lists and maps of a resource are merged.
pub(crate) fn shape(resource: &Resource) -> Shape<'_> {
    match &resource.custom {
        Some(custom) => Shape::custom(&resource.kind, &custom.schema),
        None => Shape::built_in(&resource.kind),
    }
}

/// Objects are kept in one version.
fn store_form(resource: &Resource, mut object: Value) -> Value {
    if let Some(custom) = &resource.custom {
        object["apiVersion"] = json!(format!("{}/{}", resource.group, custom.storage_version));
    } else if resource.plural == "events" && resource.group == "events.k8s.io" {
        kinds::event_in_version(&mut object, "");
        object["apiVersion"] = json!("v1");
    }
    object
}

/// What an endpoint may not change stays as it was.
fn restrict(w: &Write, old: &Value, object: &mut Value) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    let mut keep = |field: &str| match old.get(field) {
        Some(value) => {
            map.insert(field.to_owned(), value.clone());
        }
        None => {
            map.remove(field);
        }
    };
    match w.subresource {
        "" if w.resource.has("status") => keep("status"),
        "status" if w.resource.custom.is_some() => {
            let names: Vec<String> = old
                .as_object()
                .into_iter()
                .flat_map(|o| o.keys().cloned())
                .chain(["spec".to_owned()])
                .filter(|name| name != "status" && name != "kind" && name != "apiVersion")
                .collect();
            names.iter().for_each(|name| keep(name));
        }
        "status" => keep("spec"),
        "finalize" => {
            keep("metadata");
            keep("status");
        }
        _ => {}
    }
}

/// Fields of metadata that only the server sets.
fn keep_system_metadata(old: &Value, metadata: &mut Map<String, Value>) {
    for name in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "managedFields",
        "name",
        "namespace",
        "generateName",
    ] {
        match old["metadata"].get(name) {
            Some(value) => metadata.insert(name.to_owned(), value.clone()),
            None => metadata.remove(name),
        };
    }
    metadata.remove("selfLink");
}

/// Empty maps and lists of metadata are not written.
fn tidy(metadata: &mut Map<String, Value>) {
    metadata.retain(|_, value| match value {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    });
}

/// A custom resource's metadata is of the same type as everybody's.
fn typed_metadata(object: &mut Value) -> Result<(), Refusal> {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    let metadata = object["metadata"].take();
    let typed: ObjectMeta = serde_json::from_value(metadata)
        .map_err(|error| Refusal::bad_request(format!("metadata: {error}")))?;
    object["metadata"] = serde_json::to_value(typed)
        .map_err(|error| Refusal::bad_request(format!("metadata: {error}")))?;
    Ok(())
}

/// Of a decoded object, only what was in the given one: decoding fills in required fields.
fn keep_given(decoded: &Value, given: &Value) -> Value {
    match (decoded, given) {
        (Value::Object(decoded), Value::Object(given)) => decoded
            .iter()
            .filter_map(|(name, part)| {
                let given = given.get(name).filter(|g| !g.is_null())?;
                Some((name.clone(), keep_given(part, given)))
            })
            .collect(),
        (Value::Array(decoded), Value::Array(given)) if decoded.len() == given.len() => {
            let pairs = decoded.iter().zip(given);
            pairs.map(|(d, g)| keep_given(d, g)).collect()
        }
        _ => decoded.clone(),
    }
}

fn check_preconditions(w: &Write, old: &Value, new: &Map<String, Value>) -> Result<(), Refusal> {
    let version = text(new, "resourceVersion");
    if !version.is_empty() && old["metadata"]["resourceVersion"] != version.as_str() {
        return Err(Refusal::stale(about(w.resource, w.name)));
    }
    let uid = text(new, "uid");
    let current = old["metadata"]["uid"].as_str().unwrap_or_default();
    if !uid.is_empty() && uid != current {
        return Err(Refusal::conflict(
            about(w.resource, w.name),
            &format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {current}"
            ),
        ));
    }
    Ok(())
}

/// An object on its way out gets no new finalizers.
fn check_finalizers(w: &Write, old: &Value, new: &Value) -> Result<(), Refusal> {
    if old["metadata"].get("deletionTimestamp").is_none() {
        return Ok(());
    }
    let list = |object: &Value| -> Vec<Value> {
        let list = object.pointer("/metadata/finalizers");
        list.and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let before = list(old);
    let added: Vec<String> = list(new)
        .iter()
        .filter(|f| !before.contains(f))
        .map(|f| f.to_string())
        .collect();
    if added.is_empty() {
        return Ok(());
    }
    let why = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers [{}]",
        added.join(", ")
    );
    Err(Refusal::invalid(
        &w.resource.kind,
        about(w.resource, w.name),
        &[FieldError::forbidden("metadata.finalizers", &why)],
    ))
}

/// Managers as a client wrote them, if it did.
fn given_managers(list: Option<Value>) -> Option<Managers> {
    let managers = Managers::of(&json!({"metadata": {"managedFields": list?}}));
    (!managers.0.is_empty()).then_some(managers)
}

/// An apply has to be of the type that the definition declares, where a merge patch is only pruned.
fn declared(w: &Write, wanted: &Value) -> Result<(), Refusal> {
    let custom = w.resource.custom.as_ref();
    let Some(schema) = custom.map(|c| &c.schema).filter(|s| !s.is_null()) else {
        return Ok(());
    };
    let dropped = schema::default_and_prune(&mut wanted.clone(), schema);
    if dropped.is_empty() {
        return Ok(());
    }
    let say = |path: &String| format!(".{path}: field not declared in schema");
    let said: Vec<String> = dropped.iter().map(say).collect();
    let said = match said.as_slice() {
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    let message = format!(
        "failed to create typed patch object ({}/{}; {}, Kind={}): {said}",
        w.namespace,
        w.name,
        w.resource.api_version(),
        w.resource.kind
    );
    // An internal error, without a reason.
    Err(Refusal::new(500, "", message))
}

fn conflicts(found: &[(String, String, String)]) -> Refusal {
    let each: Vec<String> = found
        .iter()
        .map(|(manager, version, path)| {
            format!("conflict with {manager:?} using {version}: {path}")
        })
        .collect();
    let plural = if each.len() == 1 {
        "conflict"
    } else {
        "conflicts"
    };
    let mut refusal = Refusal::new(
        409,
        "Conflict",
        format!(
            "Apply failed with {} {plural}: {}",
            each.len(),
            each.join(", ")
        ),
    );
    let causes = found.iter().map(|(manager, version, path)| {
        json!({"reason": "FieldManagerConflict", "field": path,
               "message": format!("conflict with {manager:?} using {version}")})
    });
    refusal.details = json!({"causes": causes.collect::<Vec<_>>()});
    refusal
}
