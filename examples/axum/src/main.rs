//! An axum application as a function: lambda_http turns the events of an HTTP API into its requests.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use lambda_http::request::RequestContext;
use lambda_http::{run, Error, RequestExt};
use serde::Deserialize;
use serde_json::{json, Value};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Of this environment: gone when it is.
type Notes = Arc<Mutex<HashMap<usize, String>>>;

#[derive(Deserialize)]
struct Greeted {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Note {
    text: String,
}

async fn index(Query(greeted): Query<Greeted>, request: axum::extract::Request) -> Json<Value> {
    let name = greeted.name.unwrap_or_else(|| "world".to_owned());
    let id = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.request_id.clone(),
        _ => None,
    };
    Json(json!({"hello": name, "request_id": id}))
}

async fn create(State(notes): State<Notes>, Json(note): Json<Note>) -> (StatusCode, Json<Value>) {
    let mut notes = notes.lock().unwrap();
    let id = notes.len() + 1;
    notes.insert(id, note.text);
    (StatusCode::CREATED, Json(json!({ "id": id })))
}

async fn read(State(notes): State<Notes>, Path(id): Path<usize>) -> (StatusCode, Json<Value>) {
    match notes.lock().unwrap().get(&id) {
        Some(text) => (StatusCode::OK, Json(json!({ "text": text }))),
        None => (StatusCode::NOT_FOUND, Json(json!({"detail": format!("there is no note {id}")}))),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let app = Router::new()
        .route("/", get(index))
        .route("/notes", post(create))
        .route("/notes/{id}", get(read))
        .with_state(Notes::default());
    run(app).await
}
