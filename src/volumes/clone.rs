//! A CSI clone: a claim in the application's namespace that begins with what another one holds at this moment.
//!
//! A claim can be cloned only within its namespace, so the mover runs there. Its storage takes up to the whole size again until it is released.

use serde_json::json;

use super::choose::{Choice, Way};
use super::prepared::{Making, Prepared};
use super::wait::named;
use super::{Context, VolumesError, kinds};

/// Makes the clone of a claim for which [`Way::Clone`] was chosen. After an error nothing is left of it.
pub async fn prepare(context: &Context<'_>, choice: &Choice) -> Result<Prepared, VolumesError> {
    let Way::Clone { copy } = &choice.way else {
        let object = named(&kinds::claims(), Some(&choice.namespace), &choice.claim);
        return Err(VolumesError::Way { object, way: "clone" });
    };
    let making = Making::new(context, choice, &choice.namespace);
    let made = async {
        making.is_the_same(choice).await?;
        making.journal().await?;
        making.copy(copy, 0, json!({"kind": "PersistentVolumeClaim", "name": choice.claim})).await
    };
    let made = made.await;
    making.end(made).await
}
