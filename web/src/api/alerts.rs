//! `/rules`, `/alerts`, `/alertmanagers`: empty lists while no rules are loaded,
//! in the shape that dashboards expect.

use super::{Answer, success};

/// `/rules`: no group is loaded.
pub async fn rules() -> Answer {
    success(&serde_json::json!({ "groups": [] }), &[])
}

/// `/alerts`: none.
pub async fn alerts() -> Answer {
    success(&serde_json::json!({ "alerts": [] }), &[])
}

/// `/alertmanagers`: none.
pub async fn alertmanagers() -> Answer {
    success(&serde_json::json!({ "activeAlertmanagers": [], "droppedAlertmanagers": [] }), &[])
}
