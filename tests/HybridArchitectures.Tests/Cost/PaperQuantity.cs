namespace HybridArchitectures.Tests.Cost;

/// <summary>Specifies a cost that the tables of the paper print, at a context length of 8,192 tokens.</summary>
enum PaperQuantity
{
    /// <summary>Counts training operations for 60B tokens, in 1e20 (Tables 9, 10 and 18-20).</summary>
    Flops,

    /// <summary>Measures the cache of one row in MiB (the same tables).</summary>
    Cache,

    /// <summary>Counts the tokens, in billions, for the operations that Llama of this size spends on 60B (Tables 9 and 10).</summary>
    TokensAsLlama,

    /// <summary>Counts the tokens, in billions, for 4e20 operations (Tables 14 and 15).</summary>
    TokensScaling,
}
