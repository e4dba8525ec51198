namespace HybridArchitectures.Training.Distributed;

/// <summary>Selects how the values of several ranks are combined.</summary>
public enum ReduceOperation
{
    /// <summary>Computes the sum.</summary>
    Sum,

    /// <summary>Computes the maximum.</summary>
    Max,

    /// <summary>Computes the minimum.</summary>
    Min,
}
