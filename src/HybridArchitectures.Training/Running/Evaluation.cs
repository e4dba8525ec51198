using System.Text.Json.Serialization;

namespace HybridArchitectures.Training;

/// <summary>How well a model predicts a text.</summary>
/// <param name="Nats">Sum of -ln p over the predicted tokens.</param>
/// <param name="Tokens">How many tokens were predicted.</param>
/// <param name="Bytes">How many bytes of text they stand for; 0 where the data does not know.</param>
public sealed record Evaluation(double Nats, long Tokens, long Bytes)
{
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
