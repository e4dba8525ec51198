namespace HybridArchitectures.Conversion;

/// <summary>Specifies the function of a part of a mixer's weights. Parts of different mixers with the same function correspond.</summary>
enum SlotKind
{
    /// <summary>Queries of attention, C of a state space.</summary>
    Query,

    /// <summary>Keys of attention, B of a state space.</summary>
    Key,

    /// <summary>Values of attention, x of a state space.</summary>
    Value,

    /// <summary>The gate of the output.</summary>
    Gate,

    /// <summary>The gate of the input of a short convolution.</summary>
    InputGate,

    /// <summary>The output projection, by input channel.</summary>
    Output,

    /// <summary>The bias of the output projection.</summary>
    OutputBias,

    /// <summary>The projection to time steps.</summary>
    Step,

    /// <summary>The bias of time steps before softplus, one per head.</summary>
    StepBias,

    /// <summary>The bias of time steps before softplus, one per key channel.</summary>
    ChannelStepBias,

    /// <summary>The logarithm of the decay rate, one per head.</summary>
    Decay,

    /// <summary>The projection to update strengths.</summary>
    Strength,

    /// <summary>D, the share of x that is added to the output.</summary>
    Skip,

    /// <summary>The weight of the norm of the output.</summary>
    OutputNorm,

    /// <summary>The weight of the norm of the queries.</summary>
    QueryNorm,

    /// <summary>The weight of the norm of the keys.</summary>
    KeyNorm,
}
