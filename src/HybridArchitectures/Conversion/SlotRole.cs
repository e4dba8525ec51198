namespace HybridArchitectures.Conversion;

/// <summary>Specifies what a slot contains for its function.</summary>
enum SlotRole
{
    /// <summary>Specifies the rows of a projection, (heads, size, inputs), or numbers, (heads, size).</summary>
    Weight,

    /// <summary>Specifies the bias of the projection, (heads, size).</summary>
    Bias,

    /// <summary>Specifies the taps of the convolution of these channels, (heads, size, taps). The last tap belongs to the current token.</summary>
    Taps,

    /// <summary>Specifies the bias of the convolution of these channels, (heads, size).</summary>
    TapBias,
}
