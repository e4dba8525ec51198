using System.CommandLine;

namespace HybridArchitectures.Cli.Inputs;

/// <summary>Defines the option that selects the device of a model.</summary>
sealed class DeviceFlag
{
    public DeviceFlag() => Option.CompletionSources.Add(ModelPlace.Auto, ModelPlace.OnCpu, ModelPlace.OnCuda);

    public Option<string> Option { get; } = new("--device")
    {
        HelpName = $"{ModelPlace.Auto}|{ModelPlace.OnCpu}|{ModelPlace.OnCuda}",
        Description = "The device of the model: cpu (float32 activations), cuda (a GPU, bfloat16 activations), or auto, which means cuda if there "
            + "is a GPU that can be used, and cpu otherwise.",
        DefaultValueFactory = _ => ModelPlace.Auto,
    };

    /// <summary>Returns the device and the dtype of activations.</summary>
    /// <exception cref="ArgumentException">The device is unknown or cannot be used.</exception>
    public ModelPlace Read(ParseResult parsed) => ModelPlace.Parse(parsed.GetValue(Option)!, Option.Name);
}
