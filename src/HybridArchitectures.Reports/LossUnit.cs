namespace HybridArchitectures.Reports;

/// <summary>Specifies the unit of the losses in a report.</summary>
public enum LossUnit
{
    /// <summary>Bits per byte of text, which is comparable between tokenizers.</summary>
    BitsPerByte,

    /// <summary>Nats (natural logarithm) per token.</summary>
    NatsPerToken,
}
