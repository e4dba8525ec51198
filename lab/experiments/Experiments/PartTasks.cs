namespace HybridArchitectures.Experiments;

/// <summary>Specifies the tasks that measure the models of a part, in addition to the held-out loss.</summary>
[Flags]
enum PartTasks
{
    /// <summary>Selects no task.</summary>
    None = 0,

    /// <summary>Measures the loss by position up to twice the training length.</summary>
    Positions = 1,

    /// <summary>Needles up to twice the training length.</summary>
    Needle = 2,

    /// <summary>Measures throughput and cache of decoding.</summary>
    Cost = 4,

    /// <summary>Measures recall at 1, 1.5 and 2 times the training length.</summary>
    Recall = 8,
}
