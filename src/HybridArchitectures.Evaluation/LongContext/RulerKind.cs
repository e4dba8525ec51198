namespace HybridArchitectures.Evaluation.LongContext;

/// <summary>Specifies a task of RULER (arXiv 2404.06654) that needs no text.</summary>
public enum RulerKind
{
    /// <summary>Hides one needle among repeated sentences (<c>niah_single_1</c>).</summary>
    SingleRepeat,

    /// <summary>Hides one needle among needles with other keys. Keys are words, and values are numbers (<c>niah_multikey_2</c>).</summary>
    MultiKeyWords,

    /// <summary>Hides one needle among needles with other keys. Keys and values are UUIDs (<c>niah_multikey_3</c>).</summary>
    MultiKeyIdentifiers,

    /// <summary>Hides a chain of assignments among repeated sentences. The answer is every variable of the chain (<c>vt</c>).</summary>
    VariableTracking,

    /// <summary>Asks for the three most frequent words of a coded text (<c>fwe</c>).</summary>
    FrequentWords,
}
