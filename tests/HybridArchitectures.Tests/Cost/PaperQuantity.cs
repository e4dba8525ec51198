namespace HybridArchitectures.Tests.Cost;

/// <summary>What the paper's tables print of a model's cost, at a context of 8,192.</summary>
enum PaperQuantity
{
    /// <summary>Training operations for 60B tokens, in 1e20 (Tables 9, 10 and 18-20).</summary>
    Flops,

    /// <summary>Cache of one row, MiB (the same tables).</summary>
    Cache,

    /// <summary>Tokens, in billions, for the operations Llama of the size spends on 60B (Tables 9 and 10).</summary>
    TokensAsLlama,

    /// <summary>Tokens, in billions, for 4e20 operations (Tables 14 and 15).</summary>
    TokensScaling,
}
