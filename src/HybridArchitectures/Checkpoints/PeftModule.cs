namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Describes a linear layer of a Hugging Face model that PEFT can adapt, and the weights of this library that it contains, in the order of its
/// outputs.
/// </summary>
/// <param name="Name">The name of the layer, for example <c>model.layers.0.self_attn.q_proj</c>.</param>
/// <param name="Parts">The weights of the layer.</param>
sealed record PeftModule(string Name, IReadOnlyList<PeftPart> Parts)
{
    const string Prefix = "base_model.model.";

    /// <summary>Gets the name of the matrix from the inputs to the rank, shape (rank, inputs).</summary>
    public string Down => $"{Prefix}{Name}.lora_A.weight";

    /// <summary>Gets the name of the matrix from the rank to the outputs, shape (outputs, rank).</summary>
    public string Up => $"{Prefix}{Name}.lora_B.weight";

    public long Inputs => Parts[0].Site.Weight.size(-1);

    public long Outputs => Parts.Sum(part => part.Outputs);

    /// <summary>Returns the module to which a tensor belongs, and whether the tensor is <see cref="Down"/>. Returns null for other names.</summary>
    public static (string Module, bool IsDown)? Parse(string tensor)
    {
        if (!tensor.StartsWith(Prefix, StringComparison.Ordinal)) return null;
        foreach (var (end, down) in new[] { (".lora_A.weight", true), (".lora_B.weight", false) })
        {
            if (tensor.EndsWith(end, StringComparison.Ordinal) && tensor.Length > Prefix.Length + end.Length)
                return (tensor[Prefix.Length..^end.Length], down);
        }
        return null;
    }
}
