//! The whole story, as the demo tells it.

use std::io;

use demo::console::Console;
use demo::{World, walk_through};

#[tokio::test]
async fn every_step_of_the_story_holds() -> anyhow::Result<()> {
    phantomgate::install_crypto_provider();
    let world = World::start().await?;
    walk_through::play(&world, &mut Console::plain(io::sink())).await?;
    world.shut_down().await
}
