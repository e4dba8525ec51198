namespace HybridArchitectures.Design;

/// <summary>Specifies how a mixer remembers earlier tokens.</summary>
enum MixerKind
{
    /// <summary>The mixer is none of the other kinds, such as a short convolution or a custom mixer.</summary>
    Other,

    /// <summary>The mixer attends to the keys and values of earlier tokens.</summary>
    Attention,

    /// <summary>The mixer has a state of constant size, so it knows the order of tokens.</summary>
    Recurrent,

    /// <summary>The mixer has attention and a recurrent layer.</summary>
    Both,
}
