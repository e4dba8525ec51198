namespace HybridArchitectures.Conversion;

/// <summary>Specifies what a slot contains for its function.</summary>
enum SlotRole
{
    /// <summary>Rows of a projection, (heads, size, inputs), or numbers, (heads, size).</summary>
    Weight,

    /// <summary>The bias of the projection, (heads, size).</summary>
    Bias,

    /// <summary>The taps of the convolution of these channels, (heads, size, taps). The last tap belongs to the current token.</summary>
    Taps,

    /// <summary>The bias of the convolution of these channels, (heads, size).</summary>
    TapBias,
}
