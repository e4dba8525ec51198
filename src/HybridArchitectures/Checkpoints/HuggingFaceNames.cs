using System.Text.Json;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>Words of Hugging Face configurations, old and new.</summary>
static class HuggingFaceNames
{
    static readonly (string Word, Activation Value)[] activations =
    [
        ("silu", Design.Activation.Silu), ("swish", Design.Activation.Silu), ("relu", Design.Activation.Relu), ("relu2", Design.Activation.ReluSquared),
        ("gelu", Design.Activation.Gelu), ("gelu_pytorch_tanh", Design.Activation.GeluTanh), ("gelu_new", Design.Activation.GeluTanh), ("gelu_fast", Design.Activation.GeluTanh), ("gelu_python", Design.Activation.Gelu),
    ];

    public static string Activations => string.Join(", ", activations.Select(item => item.Word));

    public static Activation? Activation(string word)
    {
        foreach (var item in activations)
            if (item.Word == word) return item.Value;
        return null;
    }

    public static string FromActivation(Activation value) => activations.First(item => item.Value == value).Word;

    /// <summary>Whether two values of a configuration say the same: numbers by value, words of layers in old and new spelling alike.</summary>
    public static bool AreSame(JsonElement left, JsonElement right) => (left.ValueKind, right.ValueKind) switch
    {
        (JsonValueKind.Number, JsonValueKind.Number) => left.GetDouble() == right.GetDouble(),
        (JsonValueKind.String, JsonValueKind.String) => Layer(left.GetString()!) == Layer(right.GetString()!),
        (JsonValueKind.Array, JsonValueKind.Array) => left.GetArrayLength() == right.GetArrayLength()
            && left.EnumerateArray().Zip(right.EnumerateArray()).All(pair => AreSame(pair.First, pair.Second)),
        _ => left.GetRawText() == right.GetRawText(),
    };

    /// <summary>The newer spelling of a layer-type word.</summary>
    public static string Layer(string word) => word switch
    {
        "attention" => "full_attention",
        "mamba" => "linear_attention",
        _ => word,
    };

    /// <summary>Whether a layer-type word stands for attention (true) or a state-space layer (false); null for neither.</summary>
    public static bool? IsAttention(string word) => word switch
    {
        "attention" or "full_attention" => true,
        "mamba" or "linear_attention" => false,
        _ => null,
    };
}
