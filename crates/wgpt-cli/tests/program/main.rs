//! The program as people run it: real processes, real files, kills, and all kinds of bad input.

mod cache;
mod chat;
mod chinese;
mod clients;
mod demo;
mod device_loss;
mod doctor;
mod dpo;
mod feedback;
mod input;
mod plan;
mod ppo;
mod program;
mod resume;
mod reward;
mod rounds;
mod serve;
mod server;
mod sft;
mod shaders;
mod unread;
