//! Chooses the next token of every sequence in a step, each by its own rule.
//!
//! The sampling kernel makes every draw, keyed by the request's seed and the number of the token, so neither neighbours
//! nor other options of a request change it. Scores come to the host if a request wants the likeliest tokens, or if they
//! have to be changed (biases, penalties by count, constraints); changed scores are uploaded again for the draw.

use super::{request::TokenEvent, sequence::Sequence};
use crate::{
    Error, Result,
    gpu::readback::Readback,
    infer::sampler::{self, Candidate, Sampling},
    ops::gather::{RowIndex, gather},
    tape::Tape,
    tensor::Tensor,
};

/// Scores of some sequences.
pub(super) struct Scores {
    /// `[sequences, vocabulary]`
    pub logits: Tensor,
    /// Their indices among the running sequences.
    pub sequences: Vec<usize>,
}

/// A sequence's index and its next token, or why there is none.
pub(super) type Choice = (usize, Result<TokenEvent>);

/// A draw in progress: rows of one group of scores that are chosen by the same rule.
struct Draw {
    group: usize,
    rows: Vec<usize>,
    pairs: Readback,
}

/// What the host knows about a row: the model's original scores, and which tokens may not be drawn.
#[derive(Default)]
struct Row {
    raw: Option<Vec<f32>>,
    /// The ids that a constraint ruled out, if there is one.
    masked: Option<Vec<bool>>,
}

impl Sequence {
    /// Whether scores are changed on the host.
    fn edits(&self) -> bool {
        let request = &self.request;
        let penalties = request.presence_penalty != 0.0 || request.frequency_penalty != 0.0;
        penalties || !request.bias.is_empty() || request.constraint.is_some()
    }

    /// Its sampling rule without the seed; sequences with equal rules are drawn together.
    fn rule(&self) -> Sampling {
        let sampling = Sampling { seed: 0, ..self.request.sampling };
        match sampling.temperature > 0.0 {
            true => sampling,
            false => Sampling {
                temperature: 0.0,
                repetition_penalty: sampling.repetition_penalty,
                ..Sampling { seed: 0, ..Sampling::default() }
            },
        }
    }

    /// Changes scores as the request asks; returns which ids a constraint ruled out.
    fn edit(&mut self, scores: &mut [f32]) -> Option<Vec<bool>> {
        for &(id, bias) in &self.request.bias {
            scores[id as usize] += bias;
        }
        let (presence, frequency) = (self.request.presence_penalty, self.request.frequency_penalty);
        if presence != 0.0 || frequency != 0.0 {
            let mut said = self.generated().to_vec();
            said.sort_unstable();
            for same in said.chunk_by(|a, b| a == b) {
                scores[same[0] as usize] -= presence + frequency * same.len() as f32;
            }
        }
        let constraint = self.request.constraint.as_mut()?;
        constraint.mask(scores);
        let masked = scores.iter().map(|score| *score == f32::NEG_INFINITY).collect();
        // Keeps infinities away from the kernels.
        scores.iter_mut().filter(|score| **score == f32::NEG_INFINITY).for_each(|score| *score = OUT);
        Some(masked)
    }
}

/// The score of a token that may not come next.
const OUT: f32 = -1e30;

/// Chooses for all `groups`. Waits for the GPU once, and once more if the host changes scores.
///
/// # Errors
/// Returns the driver's errors.
pub(super) async fn choose(groups: &[Scores], running: &mut [Sequence]) -> Result<Vec<Choice>> {
    let mut known: Vec<Vec<Row>> = Vec::new();
    let mut shown: Vec<(usize, usize, Readback)> = Vec::new();
    let mut draws = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let mut rows: Vec<Row> = group.sequences.iter().map(|_| Row::default()).collect();
        let (mut edited, mut values) = (Vec::new(), Vec::new());
        for (row, &sequence) in group.sequences.iter().enumerate() {
            let sequence = &mut running[sequence];
            let shows = sequence.request.top > 0;
            if !sequence.edits() && !shows {
                continue;
            }
            let scores = take(&group.logits, &[row])?.read();
            if !sequence.edits() {
                shown.push((index, row, scores));
                continue;
            }
            let mut scores: Vec<f32> = scores.numbers().await?;
            rows[row].raw = shows.then(|| scores.clone());
            rows[row].masked = sequence.edit(&mut scores);
            edited.push(row);
            values.extend(scores);
        }
        let width = group.logits.width();
        let changed = (!edited.is_empty())
            .then(|| Tensor::from_f32(group.logits.gpu(), &[edited.len(), width], &values))
            .transpose()?;
        let plain: Vec<usize> = (0..rows.len()).filter(|row| !edited.contains(row)).collect();
        draw(index, &group.logits, &plain, |row| row, group, running, &mut draws)?;
        if let Some(changed) = &changed {
            let place = |row: usize| edited.iter().position(|other| *other == row).unwrap_or(0);
            draw(index, changed, &edited, place, group, running, &mut draws)?;
        }
        known.push(rows);
    }
    for (group, row, scores) in shown {
        known[group][row].raw = Some(scores.numbers().await?);
    }
    let mut choices = Vec::new();
    for Draw { group, rows, pairs } in draws {
        let chosen = Sampling::candidates(&pairs.numbers::<u32>().await?);
        for (row, chosen) in rows.into_iter().zip(chosen) {
            let index = groups[group].sequences[row];
            choices.push((index, told(&known[group][row], chosen, running[index].request.top)));
        }
    }
    Ok(choices)
}

/// Starts the draws of `rows` of a group, one for each rule; `place` maps a row to its row in `logits`.
fn draw(
    index: usize,
    logits: &Tensor,
    rows: &[usize],
    place: impl Fn(usize) -> usize,
    group: &Scores,
    running: &[Sequence],
    draws: &mut Vec<Draw>,
) -> Result<()> {
    let mut by_rule: Vec<(Sampling, Vec<usize>)> = Vec::new();
    for &row in rows {
        let rule = running[group.sequences[row]].rule();
        match by_rule.iter_mut().find(|(other, _)| *other == rule) {
            Some((_, rows)) => rows.push(row),
            None => by_rule.push((rule, vec![row])),
        }
    }
    for (rule, rows) in by_rule {
        let places: Vec<usize> = rows.iter().map(|row| place(*row)).collect();
        let logits = if places.len() == logits.height() { logits.clone() } else { take(logits, &places)? };
        let sequences = rows.iter().map(|row| &running[group.sequences[*row]]);
        let texts: Vec<&[u32]> = sequences.clone().map(|sequence| &sequence.tokens[..]).collect();
        let key = |sequence: &Sequence| sequence.request.sampling.key(sequence.generated().len() as u64);
        let keys: Vec<u32> = sequences.map(key).collect();
        draws.push(Draw { group: index, rows, pairs: rule.draw(&logits, &texts, &keys)?.read() });
    }
    Ok(())
}

/// A copy of some rows of scores.
fn take(logits: &Tensor, rows: &[usize]) -> Result<Tensor> {
    let gpu = logits.gpu();
    let rows: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
    gather(&Tape::off(gpu), logits, &RowIndex::new(gpu, &rows, false)?)
}

/// What is reported about a draw. If the likeliest tokens are reported too, the chosen token's log-probability is of the
/// same distribution as theirs: the model's, at temperature 1.
fn told(row: &Row, mut chosen: Candidate, top: usize) -> Result<TokenEvent> {
    if chosen.logprob.is_nan() {
        return Err(Error::NotNumbers { what: "scores", origin: None });
    }
    if row.masked.as_ref().is_some_and(|masked| masked[chosen.id as usize]) {
        return Err(Error::Usage("the constraint left no token that may come next".to_string()));
    }
    let mut likeliest = Vec::new();
    if let Some(raw) = &row.raw {
        likeliest = sampler::top(raw, top, 1.0);
        chosen.logprob = sampler::logprob(raw, chosen.id);
    }
    Ok(TokenEvent { chosen, top: likeliest })
}
