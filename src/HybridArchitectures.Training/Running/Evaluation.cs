using System.Text.Json.Serialization;

namespace HybridArchitectures.Training.Running;

/// <summary>Contains the result of measuring how well a model predicts a text.</summary>
/// <param name="Nats">The sum of -ln p over the predicted tokens.</param>
/// <param name="Tokens">The number of predicted tokens.</param>
/// <param name="Bytes">The number of bytes of text that these tokens represent; 0 if unknown.</param>
public sealed record Evaluation(double Nats, long Tokens, long Bytes)
{
    /// <summary>
    /// Gets or sets the standard error of <see cref="Loss"/> in nats per token: its expected distance from the loss over unlimited text of the same
    /// kind. Each block of up to 512 neighbouring tokens counts as one sample. Null for fewer than two blocks, or if it was not measured.
    /// </summary>
    public double? StandardError { get; init; }

    /// <summary>Gets the standard error of <see cref="BitsPerByte"/>. Null if either is null.</summary>
    [JsonIgnore]
    public double? BitsPerByteStandardError => Bytes == 0 ? null : StandardError * Tokens / Math.Log(2) / Bytes;

    /// <summary>Gets the mean cross entropy in nats per token.</summary>
    [JsonIgnore]
    public double Loss => Nats / Tokens;

    /// <summary>
    /// Gets the cross entropy in bits per byte of text, which is comparable between tokenizers. Null if the number of bytes is unknown.
    /// </summary>
    [JsonIgnore]
    public double? BitsPerByte => Bytes == 0 ? null : Nats / Math.Log(2) / Bytes;

    /// <summary>Gets the perplexity, exp(<see cref="Loss"/>).</summary>
    [JsonIgnore]
    public double Perplexity => Math.Exp(Loss);

    /// <summary>
    /// Returns the main numbers in words: "1.6101 +- 0.0366 nats per token, 2.3229 bits per byte, perplexity 5.00 over 16,384 tokens".
    /// </summary>
    public override string ToString()
    {
        string error = StandardError is { } one ? FormattableString.Invariant($" +- {one:0.0000}") : "";
        string bits = BitsPerByte is { } number ? FormattableString.Invariant($", {number:0.0000} bits per byte") : "";
        return FormattableString.Invariant($"{Loss:0.0000}{error} nats per token{bits}, perplexity {Perplexity:0.00} over {Tokens:N0} tokens");
    }
}
