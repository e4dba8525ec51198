namespace HybridArchitectures.Conversion;

/// <summary>Specifies where the values of a weight of a converted model come from.</summary>
public enum WeightOrigin
{
    /// <summary>The values are those of the source, bit for bit.</summary>
    Kept,

    /// <summary>The values are computed from the source, from statistics of its attention, or by a rule that imitates it.</summary>
    Derived,

    /// <summary>The values are those with which a new model of the design starts.</summary>
    Fresh,
}
