//! The OpenAPI document: what the handlers' annotations do not say because it holds for all of
//! them — the key, the prefix, the errors that any route can answer with.

use serde_json::{Map, Value, json};
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, HeaderBuilder, Info, License, ObjectBuilder, OpenApi, OpenApiBuilder, Ref,
    RefOr, Server, Type,
};
use utoipa::{PartialSchema, ToSchema};

use crate::http::problem::{MEDIA_TYPE, Problem};

mod extension;

const KEY: &str = "api_key";

/// The document before the routes are in it.
pub(super) fn frame() -> OpenApi {
    let mut info = Info::new("ffrtmp master", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "Distributed video transcoding: jobs, nodes, and the protocol of the agents. \
         Every path answers without the prefix /api/v1 as well."
            .into(),
    );
    info.license = Some(License::new(env!("CARGO_PKG_LICENSE")));
    let components = ComponentsBuilder::new()
        .security_scheme(KEY, SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)))
        .schema(Problem::name(), Problem::schema())
        .build();
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([Server::new("/api/v1")]))
        .components(Some(components))
        .security(Some([SecurityRequirement::new(KEY, Vec::<String>::new())]))
        .build()
}

/// Adds the errors that follow from the shape of a route and the schemas of what is parsed by
/// hand, and writes the document out.
pub(super) fn complete(mut document: OpenApi) -> String {
    for (path, item) in &mut document.paths.paths {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            add_errors(path, operation);
        }
    }
    let Ok(mut document) = serde_json::to_value(document) else { return String::new() };
    if let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        schemas.extend(by_hand());
        for_agents(schemas);
    }
    refine(&mut document);
    document.to_string()
}

/// What the types of the agents' words cannot say: a measure that is `null` is absent, and a claim
/// of no jobs asks for those of a request of the same name.
fn for_agents(schemas: &mut Map<String, Value>) {
    let Some(mut measures) = schemas.get("JobReport").cloned() else { return };
    for measure in measures.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        *measure = json!({ "anyOf": [measure.take(), { "type": "null" }] });
    }
    schemas.insert("Measures".into(), measures);
    if let Some(result) = schemas.get_mut("FinishRequest").and_then(|schema| schema.pointer_mut("/properties/metrics"))
    {
        let description = result.get("description").cloned();
        *result = json!({ "anyOf": [{ "$ref": "#/components/schemas/Measures" }, { "type": "null" }] });
        if let (Some(description), Some(fields)) = (description, result.as_object_mut()) {
            fields.insert("description".into(), description);
        }
    }
    if let Some(claim) = schemas.get_mut("ClaimRequest").and_then(Value::as_object_mut) {
        let named = json!({ "required": ["request_id"], "properties": { "request_id": { "type": "string" } } });
        claim.insert("anyOf".into(), json!([{ "properties": { "slots": { "minimum": 1 } } }, named]));
    }
}

/// Schemas of the body of `POST /jobs`, which `ffrtmp_core::request` reads by hand: the types
/// behind it cannot say that a bit rate is a text or a number, nor what excludes what.
fn by_hand() -> Map<String, Value> {
    let mut schemas = serde_json::from_str(include_str!("requests.json")).unwrap_or_default();
    extension::infer(&mut schemas);
    schemas
}

/// Gives unsigned integers the range that they have here in place of a format of signed ones, and
/// takes `null` from parameters: a query or a header has no way to say it.
fn refine(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(refine),
        Value::Object(fields) => {
            let most = match fields.get("format").and_then(Value::as_str) {
                Some("int32") => Some(u64::from(u32::MAX)),
                Some("int64") => Some(u64::MAX),
                _ => None,
            };
            if let Some(most) = most.filter(|_| fields.contains_key("minimum")) {
                fields.remove("format");
                fields.entry("maximum").or_insert(most.into());
            }
            if fields.contains_key("in")
                && let Some(kind) = fields.get_mut("schema").and_then(|schema| schema.get_mut("type"))
                && let Some(first) = kind.get(0).cloned()
            {
                *kind = first;
            }
            fields.values_mut().for_each(refine);
        }
        _ => {}
    }
}

fn add_errors(path: &str, operation: &mut Operation) {
    let open = operation.security.is_some();
    let mut add = |status: &str, response: Response| {
        operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
    };
    add("400", problem("The request is not well formed, or a value is out of range."));
    add("429", with_header(problem("Too many requests from this address."), "Retry-After", Type::Integer));
    add("500", problem("A defect of the master."));
    add("503", problem("The master is stopping, or its store does not work."));
    if !open {
        add("401", with_header(problem("The API key is missing or wrong."), "WWW-Authenticate", Type::String));
    }
    if path.contains("{id}") || path.ends_with("/claim") || path.ends_with("/next") {
        add("404", problem("There is no job or node of this name."));
    }
    if operation.request_body.is_some() {
        let mut add = |status: &str, response: Response| {
            operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
        };
        add("413", problem("The body is too large."));
        add("415", problem("The body is not declared as JSON."));
    }
}

fn problem(description: &str) -> Response {
    let schema = Ref::from_schema_name(Problem::name());
    ResponseBuilder::new()
        .description(description)
        .content(MEDIA_TYPE, ContentBuilder::new().schema(Some(schema)).build())
        .build()
}

fn with_header(mut response: Response, name: &str, kind: Type) -> Response {
    let schema = ObjectBuilder::new().schema_type(kind).build();
    response.headers.insert(name.to_owned(), RefOr::T(HeaderBuilder::new().schema(Some(schema)).build()));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::server::router;

    /// Property names of a schema, sorted.
    fn properties(schema: &Value) -> Vec<&String> {
        let mut names: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
        names.sort();
        names
    }

    #[test]
    fn schemas_by_hand_have_the_fields_of_their_types() {
        use ffrtmp_core::encoding::{EncoderOptions, Rendition, Stills};
        use ffrtmp_core::job::{JobRequest, Parameters, ResourceLimits};
        let hand = by_hand();
        let derived = |schema: RefOr<utoipa::openapi::Schema>| serde_json::to_value(schema).unwrap();
        assert_eq!(properties(&hand["JobRequest"]), properties(&derived(JobRequest::schema())));
        assert_eq!(properties(&hand["ResourceLimits"]), properties(&derived(ResourceLimits::schema())));
        assert_eq!(properties(&hand["JobEncoderOptions"]), properties(&derived(EncoderOptions::schema())));
        assert_eq!(properties(&hand["JobStills"]), properties(&derived(Stills::schema())));
        assert_eq!(properties(&hand["JobRendition"]), properties(&derived(Rendition::schema())));
        let mut parameters = derived(Parameters::schema());
        // Accepted inside the parameters as well.
        parameters["properties"]["resource_limits"] = Value::Null;
        assert_eq!(properties(&hand["JobParameters"]), properties(&parameters));
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document: Value = serde_json::from_str(&router::openapi_json()).unwrap();
        let mut open = vec![&document];
        let mut seen = 0;
        while let Some(value) = open.pop() {
            match value {
                Value::Array(items) => open.extend(items),
                Value::Object(fields) => {
                    if let Some(Value::String(target)) = fields.get("$ref") {
                        assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
                        seen += 1;
                    }
                    open.extend(fields.values());
                }
                _ => {}
            }
        }
        assert!(seen > 100, "{seen}");
    }
}
