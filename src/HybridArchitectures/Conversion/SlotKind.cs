namespace HybridArchitectures.Conversion;

/// <summary>Specifies the function of a part of a mixer's weights. Parts of different mixers with the same function correspond.</summary>
enum SlotKind
{
    /// <summary>Queries of attention, C of a state space.</summary>
    Query,

    /// <summary>Keys of attention, B of a state space.</summary>
    Key,

    /// <summary>Specifies the values of attention, or x of a state space.</summary>
    Value,

    /// <summary>Specifies the gate of the output.</summary>
    Gate,

    /// <summary>Specifies the gate of the input of a short convolution.</summary>
    InputGate,

    /// <summary>Specifies the output projection, by input channel.</summary>
    Output,

    /// <summary>Specifies the bias of the output projection.</summary>
    OutputBias,

    /// <summary>Specifies the projection to time steps.</summary>
    Step,

    /// <summary>Specifies the bias of time steps before softplus, one per head.</summary>
    StepBias,

    /// <summary>Specifies the bias of time steps before softplus, one per key channel.</summary>
    ChannelStepBias,

    /// <summary>Specifies the logarithm of the decay rate, one per head.</summary>
    Decay,

    /// <summary>Specifies the projection to update strengths.</summary>
    Strength,

    /// <summary>D, the share of x that is added to the output.</summary>
    Skip,

    /// <summary>Specifies the weight of the norm of the output.</summary>
    OutputNorm,

    /// <summary>Specifies the weight of the norm of the queries.</summary>
    QueryNorm,

    /// <summary>Specifies the weight of the norm of the keys.</summary>
    KeyNorm,
}
