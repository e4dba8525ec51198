using System.Text.Json;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>Contains the old and new names in Hugging Face configurations.</summary>
static class HuggingFaceNames
{
    static readonly (string Word, Activation Value)[] activations =
    [
        ("silu", Design.Activation.Silu), ("swish", Design.Activation.Silu), ("relu", Design.Activation.Relu),
        ("relu2", Design.Activation.ReluSquared),
        ("gelu", Design.Activation.Gelu), ("gelu_pytorch_tanh", Design.Activation.GeluTanh), ("gelu_new", Design.Activation.GeluTanh),
        ("gelu_fast", Design.Activation.GeluTanh), ("gelu_python", Design.Activation.Gelu),
    ];

    public static string Activations => string.Join(", ", activations.Select(item => item.Word));

    public static Activation? Activation(string word)
    {
        foreach (var item in activations)
            if (item.Word == word) return item.Value;
        return null;
    }

    public static string FromActivation(Activation value) => activations.First(item => item.Value == value).Word;

    /// <summary>Returns whether two values of a configuration are equal: numbers by value, and layer types in old and new spelling.</summary>
    public static bool AreSame(JsonElement left, JsonElement right) => (left.ValueKind, right.ValueKind) switch
    {
        (JsonValueKind.Number, JsonValueKind.Number) => left.GetDouble() == right.GetDouble(),
        (JsonValueKind.String, JsonValueKind.String) => Layer(left.GetString()!) == Layer(right.GetString()!),
        (JsonValueKind.Array, JsonValueKind.Array) => left.GetArrayLength() == right.GetArrayLength()
            && left.EnumerateArray().Zip(right.EnumerateArray()).All(pair => AreSame(pair.First, pair.Second)),
        _ => left.GetRawText() == right.GetRawText(),
    };

    /// <summary>Returns the newer spelling of a layer type.</summary>
    public static string Layer(string word) => word switch
    {
        "attention" => "full_attention",
        "mamba" => "linear_attention",
        _ => word,
    };

    /// <summary>Returns whether a layer type is attention (true) or a state-space layer (false). Returns null for other types.</summary>
    public static bool? IsAttention(string word) => word switch
    {
        "attention" or "full_attention" => true,
        "mamba" or "linear_attention" => false,
        _ => null,
    };
}
