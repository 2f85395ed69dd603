//! Jaeger: every trace that the agent has is there too.

use serde_json::Value;

use crate::{answer, client, setting};

pub(crate) async fn every_trace_is_in_jaeger() {
    let url = format!(
        "{}/api/v1/traces?since_seconds=600&limit=200",
        setting("RABTRACE_URL")
    );
    let told = answer(client().get(url).bearer_auth(setting("RABTRACE_API_TOKEN"))).await;
    let rows = told["rows"].as_array().unwrap();
    // The newest may still be on their way.
    let older: Vec<&Value> = rows.iter().skip(rows.len() / 4).collect();
    assert!(!older.is_empty(), "the agent has no trace: {told}");
    for row in older {
        let id = row["trace_id"].as_str().unwrap();
        let trace =
            answer(client().get(format!("{}/api/traces/{id}", setting("JAEGER_URL")))).await;
        let spans = trace["data"][0]["spans"].as_array().map_or(0, Vec::len);
        assert!(spans > 0, "{id} is not in Jaeger: {trace}");
    }
}
