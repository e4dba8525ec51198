using System.Text.Json.Serialization;

namespace HybridArchitectures.Training;

/// <summary>How well a model predicts a text.</summary>
/// <param name="Nats">Sum of -ln p over the predicted tokens.</param>
/// <param name="Tokens">How many tokens were predicted.</param>
/// <param name="Bytes">How many bytes of text they stand for; 0 where the data does not know.</param>
public sealed record Evaluation(double Nats, long Tokens, long Bytes)
{
    /// <summary>
    /// Gets the standard error of <see cref="Loss"/> in nats per token: how far it may be expected from the loss over endless text of the same kind. Blocks of
    /// up to 512 neighbouring tokens count as one sample each. Null for fewer than two blocks, or where it was not measured.
    /// </summary>
    public double? StandardError { get; init; }

    /// <summary>Gets the standard error of <see cref="BitsPerByte"/>; null where either is.</summary>
    [JsonIgnore]
    public double? BitsPerByteStandardError => Bytes == 0 ? null : StandardError * Tokens / Math.Log(2) / Bytes;

    /// <summary>Mean cross entropy in nats per token.</summary>
    [JsonIgnore]
    public double Loss => Nats / Tokens;

    /// <summary>Cross entropy in bits per byte of text, which compares across tokenizers; null where the data does not know its bytes.</summary>
    [JsonIgnore]
    public double? BitsPerByte => Bytes == 0 ? null : Nats / Math.Log(2) / Bytes;

    /// <summary>exp of <see cref="Loss"/>.</summary>
    [JsonIgnore]
    public double Perplexity => Math.Exp(Loss);
}
