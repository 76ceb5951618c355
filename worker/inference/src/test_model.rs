//! A tiny Llama in GGUF, made in memory for unit tests: two layers, a byte vocabulary, weights from the noise generator.

use crate::noise::normals;
use crate::philox::Domain;

/// The tokens: the end, every byte in GPT-2's alphabet, and two merges.
pub(crate) const VOCABULARY: u64 = 259;

/// The file's first bytes, for tests that write the rest themselves.
pub(crate) fn header(metadata: u64, tensors: u64) -> Vec<u8> {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend(tensors.to_le_bytes());
    file.extend(metadata.to_le_bytes());
    file
}

/// A string as GGUF writes it.
pub(crate) fn push_text(file: &mut Vec<u8>, text: &str) {
    file.extend((text.len() as u64).to_le_bytes());
    file.extend(text.as_bytes());
}

/// A tensor's description; dimensions in the file's order.
pub(crate) fn push_tensor(
    file: &mut Vec<u8>,
    name: &str,
    dimensions: &[u64],
    type_id: u32,
    offset: u64,
) {
    push_text(file, name);
    file.extend((dimensions.len() as u32).to_le_bytes());
    dimensions
        .iter()
        .for_each(|size| file.extend(size.to_le_bytes()));
    file.extend(type_id.to_le_bytes());
    file.extend(offset.to_le_bytes());
}

/// The names and sizes of all weights.
pub(crate) fn tensors() -> Vec<(String, Vec<u64>)> {
    let mut list = vec![
        ("token_embd.weight".to_owned(), vec![32, VOCABULARY]),
        ("output_norm.weight".into(), vec![32]),
    ];
    for layer in 0..2 {
        let parts: [(&str, &[u64]); 9] = [
            ("attn_norm", &[32]),
            ("attn_q", &[32, 32]),
            ("attn_k", &[32, 8]),
            ("attn_v", &[32, 8]),
            ("attn_output", &[32, 32]),
            ("ffn_norm", &[32]),
            ("ffn_gate", &[32, 48]),
            ("ffn_up", &[32, 48]),
            ("ffn_down", &[48, 32]),
        ];
        list.extend(
            parts.map(|(part, sizes)| (format!("blk.{layer}.{part}.weight"), sizes.to_vec())),
        );
    }
    list
}

/// The whole file.
pub(crate) fn gguf() -> Vec<u8> {
    gguf_with(&tensors())
}

/// The whole file with other weights than it should have.
pub(crate) fn gguf_with(tensors: &[(String, Vec<u64>)]) -> Vec<u8> {
    let mut metadata = Vec::new();
    let mut count = 0;
    let mut value = |key: &str, type_id: u32, bytes: &[u8]| {
        push_text(&mut metadata, key);
        metadata.extend(type_id.to_le_bytes());
        metadata.extend(bytes);
        count += 1;
    };
    let text = |text: &str| {
        let mut bytes = Vec::new();
        push_text(&mut bytes, text);
        bytes
    };
    let list = |items: &[String]| {
        let mut bytes = 8u32.to_le_bytes().to_vec();
        bytes.extend((items.len() as u64).to_le_bytes());
        items.iter().for_each(|item| push_text(&mut bytes, item));
        bytes
    };
    value("general.architecture", 8, &text("llama"));
    for (key, number) in [
        ("block_count", 2u32),
        ("context_length", 64),
        ("embedding_length", 32),
        ("feed_forward_length", 48),
        ("attention.head_count", 8),
        ("attention.head_count_kv", 2),
    ] {
        value(&format!("llama.{key}"), 4, &number.to_le_bytes());
    }
    value(
        "llama.attention.layer_norm_rms_epsilon",
        6,
        &1e-5f32.to_le_bytes(),
    );
    value("tokenizer.ggml.model", 8, &text("gpt2"));
    value("tokenizer.ggml.pre", 8, &text("smollm"));
    value("tokenizer.ggml.tokens", 9, &list(&tokens()));
    value(
        "tokenizer.ggml.merges",
        9,
        &list(&["t h".into(), "th e".into()]),
    );
    let mut types = 5u32.to_le_bytes().to_vec();
    types.extend(VOCABULARY.to_le_bytes());
    (0..VOCABULARY).for_each(|id| types.extend(if id == 0 { 3i32 } else { 1 }.to_le_bytes()));
    value("tokenizer.ggml.token_type", 9, &types);
    value("tokenizer.ggml.eos_token_id", 4, &0u32.to_le_bytes());
    value(
        "tokenizer.chat_template",
        8,
        &text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"),
    );

    let mut file = header(count, tensors.len() as u64);
    file.extend(metadata);
    let mut data = Vec::new();
    for (index, (name, sizes)) in tensors.iter().enumerate() {
        push_tensor(&mut file, name, sizes, 0, data.len() as u64);
        let elements = sizes.iter().product::<u64>() as usize;
        let noise = normals(7, Domain::ImageLatent, index as u32, elements);
        data.extend(noise.iter().flat_map(|value| (value * 0.4).to_le_bytes()));
        data.resize(data.len().next_multiple_of(32), 0);
    }
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(data);
    file
}

fn tokens() -> Vec<String> {
    let plain = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..=255u8)
        .filter(|byte| !plain(byte))
        .zip('\u{100}'..)
        .map(|(_, shown)| shown);
    let bytes = (0..=255u8)
        .filter(plain)
        .map(char::from)
        .chain(others)
        .map(String::from);
    ["<end>".to_owned()]
        .into_iter()
        .chain(bytes)
        .chain(["th".into(), "the".into()])
        .collect()
}
