namespace HybridArchitectures.Training.Distributed;

/// <summary>Selects how the values of several ranks are combined.</summary>
public enum ReduceOperation
{
    /// <summary>The sum.</summary>
    Sum,

    /// <summary>The maximum.</summary>
    Max,

    /// <summary>The minimum.</summary>
    Min,
}
