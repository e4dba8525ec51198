namespace HybridArchitectures.Evaluation;

/// <summary>A task of RULER (arXiv 2404.06654) that needs no text.</summary>
public enum RulerKind
{
    /// <summary>One needle among repeated sentences (<c>niah_single_1</c>).</summary>
    SingleRepeat,

    /// <summary>One needle among others with other keys; keys are words and values numbers (<c>niah_multikey_2</c>).</summary>
    MultiKeyWords,

    /// <summary>The same with keys and values that are UUIDs (<c>niah_multikey_3</c>).</summary>
    MultiKeyIdentifiers,

    /// <summary>A chain of assignments among repeated sentences: every variable of the chain is to be named (<c>vt</c>).</summary>
    VariableTracking,

    /// <summary>The three most frequent words of a coded text (<c>fwe</c>).</summary>
    FrequentWords,
}
